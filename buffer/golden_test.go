package buffer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
)

// The golden vectors were encoded from FORMAT.md, not by this package. A line is hexadecimal bytes ("00*9" are nine zeros) and,
// behind two spaces, what they mean.

func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		switch n, zeros := strings.CutPrefix(line, "00*"); {
		case strings.HasPrefix(line, "#"):
		case zeros:
			n, err := strconv.Atoi(n)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			b = append(b, make([]byte, n)...)
		default:
			part, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			b = append(b, part...)
		}
	}
	return b
}

func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: encoded\n%swant\n%s", what, hex.Dump(got), hex.Dump(want))
	}
}

func sameValue(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: decoded\n%#v\nwant\n%#v", what, got, want)
	}
}

var (
	goldenRun  = hydrant.RunID{0x1f, 0x2e, 0x33, 0xaa}
	goldenLog  = hydrant.LogID{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19}
	goldenSalt = [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}
)

func goldenSegmentHeader() segmentHeader {
	return segmentHeader{run: goldenRun, log: goldenLog, salt: goldenSalt, base: 1000, created: 1700000000123, opening: 7}
}

func TestGoldenHeaders(t *testing.T) {
	plain, may := goldenSegmentHeader(), goldenSegmentHeader()
	may.may = 0x80
	for name, want := range map[string]segmentHeader{"segment-header": plain, "segment-header-may": may} {
		sameBytes(t, name, want.encode(), golden(t, name))
		got, err := parseSegmentHeader(golden(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sameValue(t, name, got, want)
	}
	want := cursorHeader{generation: 3, salt: goldenSalt, log: goldenLog}
	sameBytes(t, "cursor-header", want.encode(), golden(t, "cursor-header"))
	got, err := parseCursorHeader(golden(t, "cursor-header"))
	if err != nil {
		t.Error(err)
	}
	sameValue(t, "cursor-header", got, want)
}

func TestGoldenHeadersOfLaterVersionsAreRefusedByName(t *testing.T) {
	cursor := func(b []byte) error { _, err := parseCursorHeader(b); return err }
	segment := func(b []byte) error { _, err := parseSegmentHeader(b); return err }
	block := func(b []byte) error { _, err := parseHead(b, &goldenSalt); return err }
	for _, c := range []struct {
		name, says string
		parse      func([]byte) error
	}{
		{"segment-header-newer", "format version 2", segment},
		{"segment-header-must", "features 0x2", segment},
		{"segment-header-encrypted", "encrypted segment (cipher 1)", segment},
		{"cursor-header-must", "features 0x1", cursor},
		{"block-kind", "kind 3", block},
		{"block-must", "flags 0x1", block},
		{"block-compressed", "features 0x1000000", block},
		{"block-sealed", "features 0x2000000", block},
	} {
		err := c.parse(golden(t, c.name))
		if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want ErrNewerFormat with %q", c.name, err, c.says)
		}
	}
	encrypted := goldenSegmentHeader()
	encrypted.cipher = 1
	for i := range encrypted.keyID {
		encrypted.keyID[i] = 0x30 + byte(i)
	}
	sameBytes(t, "segment-header-encrypted", encrypted.encode(), golden(t, "segment-header-encrypted"))
	got, _ := parseSegmentHeader(golden(t, "segment-header-encrypted"))
	sameValue(t, "segment-header-encrypted", got, encrypted)
}

func TestGoldenFrames(t *testing.T) {
	for name, want := range map[string]frame{
		"frame-empty": {seq: 1, committed: 1, entries: []Entry{}},
		"frame": {seq: 9, committed: 1234, entries: []Entry{
			{Type: 5, Body: []byte("done")}, {Type: 2, Body: []byte("ready!")}, {Type: 128, Body: []byte{}},
		}},
	} {
		b := golden(t, name)
		sameBytes(t, name, appendFrame(nil, &goldenSalt, want.seq, want.committed, want.entries), b)
		if n := frameSize(want.entries); n != len(b) {
			t.Errorf("%s: size %d, want %d", name, n, len(b))
		}
		got, n, err := parseFrame(b, &goldenSalt)
		if err != nil || n != len(b) {
			t.Errorf("%s: %d of %d bytes, %v", name, n, len(b), err)
		}
		sameValue(t, name, got, want)
	}
}

// goldenBlock is what a block vector says: head holds what appendBlock is given, or all when decoded.
type goldenBlock struct {
	name  string
	head  head
	recs  []hydrant.Record
	notes []Note
}

func goldenNotes() (all map[string]Note) {
	return map[string]Note{
		"source":  SourcePosition{"tail", "inode 17", []byte{0, 0xff}}.Note(),
		"call":    Invocation{Key: [16]byte(counting(16)), Digest: [8]byte(counting(8)), Time: 1700000000200, First: 1001, Count: 3}.Note(),
		"spread":  Invocation{Key: [16]byte(counting(16)), Digest: [8]byte(counting(8)), Time: 1700000000200, First: 1001, Count: 2, Spread: []uint32{4, 0}}.Note(),
		"opened":  ShardOpened{Shard{ID: 5, Lo: [16]byte{0x80}, Hi: lastHash, Created: 1700000000, Parents: []uint32{1, 2}}}.Note(),
		"closed":  ShardClosed{ID: 1, Time: 1700000000150, End: 1000}.Note(),
		"replay":  ReplayProgress{"from-prod", hydrant.Identity{Log: goldenLog, Pos: 77, Sub: 2}, []byte("state")}.Note(),
		"sums":    LedgerSums{Totals{999, 99900}, Totals{1, 100}}.Note(),
		"dedupe":  DedupeFrom{900}.Note(),
		"skipped": {Type: NoteMayIgnore, Flags: 0x100, Body: []byte("later")},
	}
}

func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func goldenBlocks() []goldenBlock {
	n := goldenNotes()
	const at = 1700000000200
	a := []hydrant.Attribute{{Name: "file", Value: "/var/log/a"}, {Name: "host", Value: "web1"}}
	b := []hydrant.Attribute{{Name: "file", Value: "/var/log/b"}}
	data := head{kind: kindData, time: at, wall: at - 100, run: goldenRun}
	blocks := []goldenBlock{
		{"block-checkpoint", head{kind: kindCheckpoint, base: 1000, time: 1700000000123, wall: 1700000000123, run: goldenRun}, nil,
			[]Note{n["sums"], n["opened"], n["closed"], n["source"], n["replay"], n["dedupe"]}},
		{"block-plain", data, []hydrant.Record{
			{Pos: 1000, Time: at, Data: []byte("hello\n")},
			{Pos: 1001, Time: at, Data: []byte{}},
		}, nil},
		{"block-full", data, []hydrant.Record{
			{Pos: 1002, Time: at, Partial: true, Attrs: a, Data: []byte("piece of a line")},
			{Pos: 1003, Time: at - 50, Key: []byte("user"), Attrs: b, Data: []byte("replayed"),
				Origin: &hydrant.Identity{Log: goldenLog, Run: hydrant.RunID{1, 2, 3, 4}, Pos: 77, Sub: 2}},
			{Pos: 1004, Time: at + 100, Key: []byte{}, Data: []byte{0xff, 0}},
			{Pos: 1005, Shard: 5, Time: at, Attrs: a, Data: []byte(`"5"`)},
		}, []Note{n["call"], n["spread"], n["skipped"]}},
		{"block-notes", data, nil, []Note{n["source"]}},
	}
	pos := hydrant.Position(1000)
	for i := range blocks {
		h := &blocks[i].head
		h.base, h.seq = pos, uint32(i)
		pos += hydrant.Position(len(blocks[i].recs))
	}
	return blocks
}

// decodeBlock takes a whole block apart, verifying everything.
func decodeBlock(b []byte, salt *[16]byte) (h head, recs []hydrant.Record, notes []Note, err error) {
	if h, err = parseHead(b, salt); err != nil {
		return
	}
	if int(h.length) > len(b) {
		return h, nil, nil, errNoBlock
	}
	stored := b[h.notesAt():][:h.notesLen]
	if err = h.checkNotes(stored, salt); err != nil {
		return
	}
	if notes, err = parseNotes(stored); err != nil {
		return
	}
	table, err := blockAttrs(notes)
	if err != nil {
		return
	}
	for i := range h.runs {
		r := &h.runs[i]
		run := b[r.offset:][:r.stored()]
		if err = h.checkRun(r, run, salt); err != nil {
			return
		}
		if err = h.decodeRun(r, run, table, func(rec hydrant.Record) bool { recs = append(recs, rec); return true }); err != nil {
			return
		}
	}
	return h, recs, notes, nil
}

func TestGoldenBlocks(t *testing.T) {
	prev := uint32(0)
	for _, g := range goldenBlocks() {
		want := golden(t, g.name)
		g.head.prev = prev
		sameBytes(t, g.name, appendBlock(nil, &goldenSalt, &g.head, g.recs, g.notes), want)
		h, recs, notes, err := decodeBlock(want, &goldenSalt)
		if err != nil {
			t.Errorf("%s: %v", g.name, err)
			continue
		}
		sameValue(t, g.name+": head", h, g.head)
		sameValue(t, g.name+": records", recs, g.recs)
		if len(notes) > 0 && notes[0].Type == NoteAttributes {
			notes = notes[1:]
		}
		sameValue(t, g.name+": notes", notes, g.notes)
		prev = h.crc
	}
}

func TestGoldenNotesDecode(t *testing.T) {
	parse := func(n Note) (any, error) {
		switch n.Type {
		case NoteSource:
			return ParseSourcePosition(n.Body)
		case NoteInvocation:
			return ParseInvocation(n.Body)
		case NoteShardOpened:
			return ParseShardOpened(n.Body)
		case NoteShardClosed:
			return ParseShardClosed(n.Body)
		case NoteReplay:
			return ParseReplayProgress(n.Body)
		case NoteSums:
			return ParseLedgerSums(n.Body)
		case NoteDedupeFrom:
			return ParseDedupeFrom(n.Body)
		}
		return nil, n.Unknown()
	}
	seen := map[uint16]bool{}
	for _, name := range []string{"block-checkpoint", "block-full"} {
		_, _, notes, err := decodeBlock(golden(t, name), &goldenSalt)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range notes {
			seen[n.Type] = true
			v, err := parse(n)
			if err != nil {
				t.Errorf("%s: note of type %d: %v", name, n.Type, err)
			}
			if noter, ok := v.(interface{ Note() Note }); ok {
				sameValue(t, name, noter.Note(), n)
			}
			if _, err := parse(Note{n.Type, n.Flags, append(bytes.Clone(n.Body), "more"...)}); err != nil {
				t.Errorf("note of type %d with a later addition: %v", n.Type, err)
			}
		}
	}
	for typ := NoteSource; typ <= NoteDedupeFrom; typ++ {
		if !seen[typ] {
			t.Errorf("no vector has a note of type %d", typ)
		}
	}
}

func TestGoldenColumnOfALaterVersionIsSkipped(t *testing.T) {
	_, recs, _, err := decodeBlock(golden(t, "block-later-column"), &goldenSalt)
	if err != nil || len(recs) != 1 || string(recs[0].Data) != "x" {
		t.Errorf("%d records, %v", len(recs), err)
	}
}

// TestGoldenEntries reads the bodies of the journal's entries as FORMAT.md draws them. What they mean is the delivery's affair.
func TestGoldenEntries(t *testing.T) {
	for _, c := range []struct{ name, layout string }{
		{"entry-snapshot", "version=1:2 start=5:8 totals next=12:8 totals totals totals totals"},
		{"entry-ready", "batch=11:8 run:4 from=1000:8 to=1010:8 time=1704164645000:8 totals totals totals totals totals outputs=3"},
		{"entry-save", "batch=11:8 string shipment=0:1"},
		{"entry-outcome", "batch=11:8 totals outputs=1 totals"},
		{"entry-done", "batch=11:8 totals totals totals totals"},
	} {
		f := fields{b: golden(t, c.name)}
		for field := range strings.FieldsSeq(c.layout) {
			readField(t, c.name, field, &f)
		}
		if f.short || len(f.b) > 0 {
			t.Errorf("%s: short %v, %d bytes left over", c.name, f.short, len(f.b))
		}
	}
	var odd []uint64
	for b := golden(t, "spool-odd"); len(b) > 0; {
		n, width := binary.Uvarint(b)
		odd, b = append(odd, n), b[max(width, 1):]
	}
	sameValue(t, "spool-odd", odd, []uint64{2, 3, 0, 0, 1, 300})
}

// readField takes name[=value]:width, totals, a string, or outputs=number.
func readField(t *testing.T, name, field string, f *fields) {
	t.Helper()
	field, width, _ := strings.Cut(field, ":")
	field, want, given := strings.Cut(field, "=")
	var got uint64
	switch {
	case field == "totals":
		if n := f.totals(); n.Records == 0 || n.Bytes != 100*n.Records {
			t.Errorf("%s: totals %+v, want 100 bytes a record", name, n)
		}
	case field == "string":
		f.bytes()
	case field == "outputs":
		got = uint64(f.u32())
		for range got {
			f.u8()
			for range 4 {
				f.bytes()
			}
			f.u64()
			f.u32()
		}
	case width == "1":
		got = uint64(f.u8())
	case width == "2":
		got = uint64(f.u16())
	case width == "4":
		got = uint64(f.u32())
	default:
		got = f.u64()
	}
	if given && strconv.FormatUint(got, 10) != want {
		t.Errorf("%s: %s is %d, want %s", name, field, got, want)
	}
}

// TestGoldenSealedBlock keeps the specification of encryption honest, before any code writes it: the vector is sealed and opened
// here as FORMAT.md says.
func TestGoldenSealedBlock(t *testing.T) {
	key, err := hkdf.Key(sha256.New, counting(32), goldenSalt[:], "hydrant segment", 32)
	if err != nil {
		t.Fatal(err)
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(c)
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "block-sealed")
	le := binary.LittleEndian
	notesLen, run := int(le.Uint32(want[28:])), want[headLen:headLen+runLen]
	at, size := int(le.Uint32(run[12:])), int(le.Uint32(run[16:])+le.Uint32(run[20:]))
	associated := append(bytes.Clone(want[:4]), want[8:headLen]...)
	clear(associated[52:56]) // the notes crc
	nonce := func(part uint32) []byte {
		return le.AppendUint32(le.AppendUint64(nil, uint64(le.Uint32(want[52:]))), part)
	}
	sealed := [2][]byte{want[headLen+runLen:][:notesLen+16], want[at:][:size+16]}
	note := appendNotes(nil, []Note{goldenNotes()["dedupe"]})
	for part, clearText := range [2][]byte{note, appendString(nil, "secret")} {
		got, err := aead.Open(nil, nonce(uint32(part)), sealed[part], associated)
		if err != nil || !bytes.Equal(got, clearText) {
			t.Errorf("part %d: opened as %x, %v; want %x", part, got, err, clearText)
		}
		sameBytes(t, "sealed part", aead.Seal(nil, nonce(uint32(part)), clearText, associated), sealed[part])
	}
	if crc := saltedCRC(&goldenSalt, sealed[0]); crc != le.Uint32(want[56:]) {
		t.Errorf("notes crc %08x, want that of what is stored, tag included: %08x", le.Uint32(want[56:]), crc)
	}
	if crc := saltedCRC(&goldenSalt, sealed[1]); crc != le.Uint32(run[24:]) {
		t.Errorf("run crc %08x, want that of what is stored, tag included: %08x", le.Uint32(run[24:]), crc)
	}
}
