package buffer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hydrantd/hydrant"
)

// blockPlace says where a block of a laid-out segment lies.
type blockPlace struct {
	file string
	at   int64
	head head
}

// layout writes segments with the codec alone.
type layout struct {
	t      *testing.T
	dir    string
	log    hydrant.LogID
	blocks []blockPlace // those with records
	recs   map[hydrant.Position]string
}

func newLayout(t *testing.T, stream string) *layout {
	l := &layout{t: t, dir: filepath.Join(stream, "log"), log: goldenLog, recs: map[hydrant.Position]string{}}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

// block is a block with its records; lay gives it its place.
type block struct {
	head
	recs  []hydrant.Record
	notes []Note
}

// dataBlock makes a block with everything that a block can have, deterministically.
func dataBlock(seed uint64, base hydrant.Position, n int) block {
	b := block{head: head{kind: kindData, base: base, time: 1700000000000 + int64(seed), wall: 1700000000000, run: hydrant.RunID{1, 1, 1, 1}}}
	r := rand.New(rand.NewPCG(seed, 3))
	b.recs = someRecords(r, base, n, b.time)
	b.recs[0].Attrs = []hydrant.Attribute{{Name: "file", Value: "x\u2028\x7f\"\\\n\x01\b\f"}} // so that each block has notes
	for _, name := range []string{"source", "call", "spread", "opened", "closed", "replay", "skipped"} {
		b.notes = append(b.notes, goldenNotes()[name])
	}
	return b
}

// lay writes a segment of some blocks behind a checkpoint, with room behind them, and returns its name.
func (l *layout) lay(run hydrant.RunID, opening uint32, base hydrant.Position, blocks ...block) string {
	l.t.Helper()
	h := segmentHeader{run: run, log: l.log, salt: [16]byte{byte(opening), byte(base), 9}, base: base, created: 1700000000000, opening: opening}
	name := segmentName(base, run)
	b := h.encode()
	check := block{head: head{kind: kindCheckpoint, base: base, time: 1700000000000, run: run}, notes: []Note{goldenNotes()["sums"], goldenNotes()["dedupe"]}}
	prev := uint32(0)
	for i, bl := range append([]block{check}, blocks...) {
		bl.seq, bl.prev = uint32(i), prev
		at := len(b)
		b = appendBlock(b, &h.salt, &bl.head, bl.recs, bl.notes)
		prev = bl.crc
		if i > 0 {
			l.blocks = append(l.blocks, blockPlace{name, int64(at), bl.head})
		}
		for j := range bl.recs {
			l.recs[bl.recs[j].Pos] = string(line(nil).record(&bl.recs[j]))
		}
	}
	l.write(name, append(b, make([]byte, 8<<10)...))
	return name
}

func (l *layout) write(name string, b []byte) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), b, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// damage changes the bytes of a file, and returns what puts them right again.
func (l *layout) damage(name string, change func(b []byte)) (restore func()) {
	l.t.Helper()
	good, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	bad := bytes.Clone(good)
	change(bad)
	l.write(name, bad)
	return func() { l.write(name, good) }
}

// chain is a log of two openings: 40 records in five blocks and three segments; the fourth block is there twice.
func chain(t *testing.T, stream string) *layout {
	l := newLayout(t, stream)
	a, b := hydrant.RunID{1, 1, 1, 1}, hydrant.RunID{2, 2, 2, 2}
	l.lay(a, 1, 1, dataBlock(1, 1, 8), dataBlock(2, 9, 8))
	l.lay(a, 1, 17, dataBlock(3, 17, 8), dataBlock(4, 25, 8))
	l.blocks = l.blocks[:3]
	l.lay(b, 2, 25, dataBlock(4, 25, 8), dataBlock(5, 33, 8))
	return l
}

// salvage runs Salvage, checks every record that comes out, and returns the positions and the spans named lost.
func (l *layout) salvage(dir string) (got []hydrant.Position, lost []string, r Report) {
	l.t.Helper()
	var out bytes.Buffer
	r, err := Salvage(hydrant.OS{}, dir, &out)
	if err != nil {
		l.t.Fatal(err)
	}
	for text := range strings.Lines(out.String()) {
		text = strings.TrimSuffix(text, "\n")
		var v struct {
			Pos  hydrant.Position
			Lost string
		}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			l.t.Fatalf("%s: %v", text, err)
		}
		if v.Lost != "" {
			lost = append(lost, v.Lost)
		}
		if v.Pos > 0 {
			if l.recs[v.Pos] != text {
				l.t.Fatalf("salvaged\n%s\nwant\n%s", text, l.recs[v.Pos])
			}
			got = append(got, v.Pos)
		}
	}
	slices.Sort(got) // where two segments have a block, one may give what the other lost
	return got, lost, r
}

func positions(from, to hydrant.Position) (all []hydrant.Position) {
	for p := from; p < to; p++ {
		all = append(all, p)
	}
	return all
}

func without(all []hydrant.Position, from, to hydrant.Position) []hydrant.Position {
	return slices.DeleteFunc(slices.Clone(all), func(p hydrant.Position) bool { return from <= p && p < to })
}

func verify(t *testing.T, dir string) (Report, string) {
	t.Helper()
	var out bytes.Buffer
	r, err := Verify(hydrant.OS{}, dir, &out)
	if err != nil {
		t.Fatal(err)
	}
	return r, out.String()
}

func TestASoundLogIsCalledSound(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	for _, at := range []string{dir, l.dir} {
		r, text := verify(t, at)
		if r.Damaged != 0 || r.Lost != 0 || r.Records.Records != 40 || r.Segments != 3 || r.Blocks != 8 || !strings.HasSuffix(text, ": sound\n") {
			t.Errorf("%+v\n%s", r, text)
		}
		got, lost, rep := l.salvage(at)
		if !slices.Equal(got, positions(1, 41)) || lost != nil || rep.Lost != 0 || rep.Damaged != 0 {
			t.Errorf("salvaged %v, lost %v, %+v", got, lost, rep)
		}
	}
}

// TestAFlippedBitCostsItsBlock flips a bit in each part of each block in turn (I5): the other blocks come out whole, and what is lost
// is named.
func TestAFlippedBitCostsItsBlock(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	all := positions(1, 41)
	for i, b := range l.blocks {
		run := b.head.runs[len(b.head.runs)-1]
		for part, offset := range map[string]int64{
			"header": 20, "directory": headLen + 9, "notes": int64(b.head.notesAt()) + 13, "records": int64(run.offset) + int64(run.stored()) - 1,
		} {
			restore := l.damage(b.file, func(raw []byte) { raw[b.at+offset] ^= 4 })
			what := fmt.Sprintf("block %d, %s", i, part)
			from, to := b.head.base, b.head.next()
			got, lost, rep := l.salvage(dir)
			salvaged := len(got)
			if want := without(all, from, to); !slices.Equal(without(got, from, to), want) {
				t.Errorf("%s: salvaged %v, want at least %v", what, got, want)
			}
			switch part {
			case "header", "directory":
				got = slices.DeleteFunc(got, func(p hydrant.Position) bool { return p < from || p >= to })
				inCopy := i == 3 // the copied block is in the segment of the opening before, too
				if inCopy != (len(got) == 8) || !inCopy && len(got) > 0 {
					t.Errorf("%s: %v came out", what, got)
				}
			case "records":
				run := hydrant.Span{From: from + hydrant.Position(run.first), To: to}
				want, wantLost := without(all, run.From, run.To), []string{run.String()}
				if i == 3 {
					want, wantLost = all, nil
				}
				if !slices.Equal(got, want) || !slices.Equal(lost, wantLost) {
					t.Errorf("%s: salvaged %v, lost %v; want all but %v", what, got, lost, wantLost)
				}
			}
			// The end of the log is not known when its last head is gone; what the copy in the segment before holds is not lost.
			if rep.Damaged == 0 || i != len(l.blocks)-1 && rep.Lost != int64(40-salvaged) {
				t.Errorf("%s: %+v", what, rep)
			}
			if r, text := verify(t, dir); i != len(l.blocks)-1 && (r.Damaged == 0 || strings.Contains(text, ": sound")) {
				t.Errorf("%s: verify says %+v\n%s", what, r, text)
			}
			restore()
		}
	}
}

func TestADamagedSegmentHeaderCostsNothing(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for what, change := range map[string]func(b []byte){
			"one flipped bit": func(b []byte) { b[40] ^= 1 },
			"gone":            func(b []byte) { clear(b[:fileHeaderLen]) },
			"the first block damaged, too": func(b []byte) {
				clear(b[:fileHeaderLen])
				b[fileHeaderLen+5] ^= 1
			},
		} {
			restore := l.damage(e.Name(), change)
			if got, lost, _ := l.salvage(dir); !slices.Equal(got, positions(1, 41)) || lost != nil {
				t.Errorf("%s, %s: salvaged %v, lost %v", e.Name(), what, got, lost)
			}
			if r, text := verify(t, dir); r.Damaged == 0 {
				t.Errorf("%s, %s: %s", e.Name(), what, text)
			}
			restore()
		}
	}
}

func TestAMissingSegmentIsNamed(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	if err := os.Remove(filepath.Join(l.dir, l.blocks[2].file)); err != nil {
		t.Fatal(err)
	}
	if _, lost, r := l.salvage(dir); !slices.Equal(lost, []string{"17-25"}) || r.Lost != 8 {
		t.Errorf("lost %v, %+v", lost, r)
	}
	if r, text := verify(t, dir); r.Lost != 8 || !strings.Contains(text, "begins with position 25, 17 was to come; 8 records are lost") {
		t.Errorf("%+v\n%s", r, text)
	}
}

func TestATornEndIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	last := l.blocks[len(l.blocks)-1]
	for what, change := range map[string]func(b []byte){
		"only the head arrived":    func(b []byte) { clear(b[last.at+blockAlign:]) },
		"only the head is missing": func(b []byte) { clear(b[last.at : last.at+blockAlign]) },
	} {
		restore := l.damage(last.file, change)
		if r, text := verify(t, dir); r.Damaged != 0 || r.Lost != 0 {
			t.Errorf("%s: %+v\n%s", what, r, text)
		}
		restore()
	}
}

func TestASegmentOfALaterVersionIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	l.write(segmentName(1000, goldenRun), golden(t, "segment-header-encrypted"))
	for what, do := range map[string]func() error{
		"verify":  func() error { _, err := Verify(hydrant.OS{}, dir, &bytes.Buffer{}); return err },
		"dump":    func() error { return Dump(hydrant.OS{}, dir, &bytes.Buffer{}) },
		"salvage": func() error { _, err := Salvage(hydrant.OS{}, dir, &bytes.Buffer{}); return err },
	} {
		if err := do(); !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), segmentName(1000, goldenRun)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Verify(hydrant.OS{}, t.TempDir(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "there is no log in it") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestVerifyLooksAtTheJournals(t *testing.T) {
	dir := dataDir(t)
	if r, text := verify(t, dir); r.Damaged != 0 || strings.Count(text, ": sound\n") != 2 {
		t.Fatalf("%+v\n%s", r, text)
	}
	cursors := filepath.Join(dir, "streams", "lived", "cursors")
	inUse := filepath.Join(cursors, "archive"+journalSuffixes[inUse(hydrant.OS{}, cursors, "archive")])
	good, err := os.ReadFile(inUse)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseCursorHeader(good)
	if err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(b []byte) []byte{
		"no valid header":                      func(b []byte) []byte { b[30] ^= 3; return b },
		"its first frame does not verify":      func(b []byte) []byte { b[fileHeaderLen+20] ^= 1; return b },
		"at position 1000, the log ends at 10": func(b []byte) []byte { return appendFrame(b[:fileHeaderLen], &h.salt, 1, 1000, nil) },
	} {
		if err := os.WriteFile(inUse, change(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, text := verify(t, dir); r.Damaged != 1 || !strings.Contains(text, says) {
			t.Errorf("%q: %+v\n%s", says, r, text)
		}
	}
}

// dataDir makes a data_dir of two streams: one laid out, one of a log that lived, with journals.
func dataDir(t *testing.T) string {
	dir := t.TempDir()
	chain(t, filepath.Join(dir, "streams", "laid-out"))
	f := newFixture(t)
	f.o.Dir, f.o.Shards = filepath.Join(dir, "streams", "lived"), 3
	for range 3 {
		log := f.open()
		c, err := log.Cursor("archive", Oldest)
		if err != nil {
			t.Fatal(err)
		}
		var b hydrant.Batch
		b.Append(hydrant.Record{Key: []byte("ключ"), Data: []byte("zeile\twith a tab, €, \u2028 and \"quotes\"")})
		b.Append(hydrant.Record{Key: []byte{0xff}, Data: []byte{0xc3, 0x28}, Attrs: []hydrant.Attribute{{Name: "file", Value: "a"}}})
		b.Append(hydrant.Record{Partial: true})
		w := &Write{Batch: &b, Notes: []Note{SourcePosition{"stdin", "", []byte("17")}.Note()}}
		if _, err := log.Append(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		ready := bytes.Clone(golden(t, "entry-ready"))
		binary.LittleEndian.PutUint64(ready[20:], uint64(c.Committed()+1)) // where it ends: in the log
		entries := []Entry{{Type: 2, Body: ready}, {Type: 5, Body: golden(t, "entry-done")}}
		if err := c.Write(hydrant.PointReady, c.Committed()+1, entries, func() []Entry { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		f.close()
	}
	return dir
}

// TestAReaderWrittenFromTheSpecificationPrintsWhatDumpPrints runs formattest/reader.py.
func TestAReaderWrittenFromTheSpecificationPrintsWhatDumpPrints(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatal("python3 is missing: install it (apt-get install python3) and run the tests again")
	}
	source, err := os.ReadFile(filepath.Join("formattest", "reader.py"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte("\n")); n >= 200 {
		t.Errorf("reader.py has %d lines; it is to show that 200 are enough", n)
	}
	dir := dataDir(t)
	lived, laid := filepath.Join(dir, "streams", "lived"), filepath.Join(dir, "streams", "laid-out")
	compare := func(what, dir string) {
		t.Helper()
		var dumped, complaint bytes.Buffer
		if err := Dump(hydrant.OS{}, dir, &dumped); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		python := exec.Command("python3", filepath.Join("formattest", "reader.py"), dir)
		python.Stderr = &complaint
		read, err := python.Output()
		if err != nil {
			t.Fatalf("%s: reader.py: %v\n%s", what, err, &complaint)
		}
		ours, theirs := strings.Split(dumped.String(), "\n"), strings.Split(string(read), "\n")
		for i := range min(len(ours), len(theirs)) {
			if ours[i] != theirs[i] {
				t.Fatalf("%s: line %d: dump prints\n%s\nreader.py\n%s", what, i+1, ours[i], theirs[i])
			}
		}
		if len(ours) != len(theirs) || len(ours) < 20 {
			t.Fatalf("%s: dump prints %d lines, reader.py %d", what, len(ours), len(theirs))
		}
	}
	compare("data_dir", dir)
	compare("stream", lived)
	compare("log", filepath.Join(laid, "log"))
	compareDamaged(t, compare)
}

// compareDamaged lays out a stream for each place that can be damaged.
func compareDamaged(t *testing.T, compare func(what, dir string)) {
	t.Helper()
	dir := t.TempDir()
	stream := func(name string) *layout { return chain(t, filepath.Join(dir, "streams", name)) }
	for i := range stream("sound").blocks {
		for _, part := range []string{"head", "notes", "records"} {
			l := stream(fmt.Sprintf("%d-%s", i, part))
			b := l.blocks[i]
			offset := map[string]int64{"head": 20, "notes": int64(b.head.notesAt()) + 13, "records": int64(b.head.runs[0].offset)}[part]
			l.damage(b.file, func(raw []byte) { raw[b.at+offset] ^= 4 })
		}
	}
	l := stream("header")
	l.damage(l.blocks[0].file, func(b []byte) { clear(b[:fileHeaderLen]) })
	compare("damaged", dir)
}

// badSector is a disk with one place that cannot be read.
type badSector struct {
	hydrant.OS
	name string
	at   int64
}

type badSectorFile struct {
	hydrant.File
	at int64
}

func (d badSector) Open(name string, flag int) (hydrant.File, error) {
	f, err := d.OS.Open(name, flag)
	if err == nil && filepath.Base(name) == d.name {
		f = badSectorFile{f, d.at}
	}
	return f, err
}

func (f badSectorFile) ReadAt(b []byte, at int64) (int, error) {
	if at <= f.at && f.at < at+int64(len(b)) {
		return 0, &os.PathError{Op: "read", Path: "segment", Err: syscall.EIO}
	}
	return f.File.ReadAt(b, at)
}

func TestWhatCannotBeReadIsDamage(t *testing.T) {
	dir := t.TempDir()
	l := chain(t, dir)
	for what, at := range map[string]int64{"the header": 100, "a block": l.blocks[0].at + 100} {
		disk := badSector{name: l.blocks[0].file, at: at}
		var out bytes.Buffer
		r, err := Salvage(disk, dir, &out)
		if err != nil {
			t.Fatal(err)
		}
		lost := int64(0)
		if at > fileHeaderLen {
			lost = int64(l.blocks[0].head.count)
		}
		if r.Damaged != 1 || r.Lost != lost || r.Records.Records != 40-lost {
			t.Errorf("%s: %+v, want %d lost\n%s", what, r, lost, &out)
		}
		if v, err := Verify(disk, dir, &out); err != nil || v.Damaged == 0 {
			t.Errorf("%s: verify: %+v, %v", what, v, err)
		}
	}
}
