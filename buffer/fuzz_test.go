package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/hydrantd/hydrant"
)

// The fuzz targets give decoders any bytes: as they are, and with the checksums put right, since what lies behind a checksum
// must not be trusted either.

func FuzzSegmentHeader(f *testing.F) {
	for _, name := range []string{"segment-header", "segment-header-may", "segment-header-must", "segment-header-newer", "segment-header-encrypted"} {
		f.Add(golden(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parseOneHeader(t, b)
		if len(b) >= fileHeaderLen {
			parseOneHeader(t, sealHeader(bytes.Clone(b[:fileHeaderLen])))
		}
	})
}

func parseOneHeader(t *testing.T, b []byte) {
	h, err := parseSegmentHeader(b)
	if err != nil {
		if errors.Is(err, ErrNewerFormat) == errors.Is(err, errForeign) {
			t.Fatalf("neither newer nor foreign, or both: %v", err)
		}
		return
	}
	again, err := parseSegmentHeader(h.encode())
	h.mended = false
	if err != nil || again != h {
		t.Fatalf("%+v is decoded as %+v, %v", h, again, err)
	}
}

func FuzzCursorHeader(f *testing.F) {
	f.Add(golden(f, "cursor-header"))
	f.Add(golden(f, "cursor-header-must"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= fileHeaderLen {
			b = sealHeader(bytes.Clone(b[:fileHeaderLen]))
		}
		h, err := parseCursorHeader(b)
		if err != nil {
			return
		}
		if again, err := parseCursorHeader(h.encode()); err != nil || again != h {
			t.Fatalf("%+v is decoded as %+v, %v", h, again, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(golden(f, "frame"))
	f.Add(golden(f, "frame-empty"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) >= 8 {
			if n := uint64(binary.LittleEndian.Uint32(b[4:])); n >= 8 && n <= uint64(len(b)) {
				binary.LittleEndian.PutUint32(b, saltedCRC(&goldenSalt, b[4:n]))
			}
		}
		got, n, err := parseFrame(b, &goldenSalt)
		if err != nil {
			return
		}
		if n <= 0 || n > len(b) {
			t.Fatalf("%d bytes of %d", n, len(b))
		}
		again, _, err := parseFrame(appendFrame(nil, &goldenSalt, got.seq, got.committed, got.entries), &goldenSalt)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%+v is decoded as %+v, %v", got, again, err)
		}
	})
}

func FuzzBlock(f *testing.F) {
	for _, g := range goldenBlocks() {
		f.Add(golden(f, g.name))
	}
	f.Add(golden(f, "block-later-column"))
	f.Add(golden(f, "block-sealed"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		resealBlock(b)
		h, recs, notes, err := decodeBlock(b, &goldenSalt)
		if err != nil {
			return
		}
		if len(recs) != int(h.count) || len(recs) > 0 && recs[0].Pos != h.base {
			t.Fatalf("%d records from a block of %d", len(recs), h.count)
		}
		for _, r := range h.runs {
			if r.flags&^runKnown != 0 {
				return // columns of later versions are not written again
			}
		}
		again := h
		second := appendBlock(nil, &goldenSalt, &again, recs, notes)
		if len(second) > MaxBlock {
			return
		}
		_, recs2, _, err := decodeBlock(second, &goldenSalt)
		if err != nil || len(recs) > 0 && !reflect.DeepEqual(recs, recs2) {
			t.Fatalf("%+v\nis decoded as\n%+v\n%v", recs, recs2, err)
		}
	})
}

// resealBlock puts the checksums of a block right, as far as its numbers allow.
func resealBlock(b []byte) {
	n, err := directoryLen(b)
	if err != nil || headLen+n > len(b) {
		return
	}
	part := func(at, size uint32) []byte {
		if uint64(at)+uint64(size) > uint64(len(b)) {
			return nil
		}
		return b[at:][:size]
	}
	le := binary.LittleEndian
	le.PutUint32(b[56:], saltedCRC(&goldenSalt, part(uint32(headLen+n), le.Uint32(b[28:]))))
	for at := headLen; at < headLen+n; at += runLen {
		d := b[at:]
		if size := uint64(le.Uint32(d[16:])) + uint64(le.Uint32(d[20:])); size <= uint64(len(b)) {
			le.PutUint32(d[24:], saltedCRC(&goldenSalt, part(le.Uint32(d[12:]), uint32(size))))
		}
	}
	le.PutUint32(b[4:], saltedCRC(&goldenSalt, b[8:headLen+n]))
}

func FuzzNotes(f *testing.F) {
	for _, name := range []string{"block-checkpoint", "block-full"} {
		b := golden(f, name)
		h, err := parseHead(b, &goldenSalt)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[h.notesAt():][:h.notesLen])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		notes, err := parseNotes(b)
		if err == nil && !bytes.Equal(appendNotes(nil, notes), b) {
			t.Fatalf("%v is encoded as %x, was %x", notes, appendNotes(nil, notes), b)
		}
		for _, n := range notes {
			if l := (line)(nil).note(n); l[len(l)-1] != '}' {
				t.Fatalf("%s", l)
			}
			if n.Type == NoteInvocation {
				v, err := ParseInvocation(n.Body)
				if again, err2 := ParseInvocation(v.Note().Body); err == nil && (err2 != nil || !reflect.DeepEqual(v, again)) {
					t.Fatalf("%+v is decoded as %+v, %v", v, again, err2)
				}
			}
		}
		// A log must be able to fold whatever verifies.
		fold := newFold()
		if fold.apply(notes) == nil {
			again := newFold()
			if err := again.apply(fold.notes()); err != nil {
				t.Fatalf("a checkpoint is refused: %v", err)
			}
		}
	})
}

func FuzzRun(f *testing.F) {
	b := golden(f, "block-full")
	h, err := parseHead(b, &goldenSalt)
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range h.runs {
		f.Add(r.flags, r.count, r.metaLen, b[r.offset:][:r.stored()])
	}
	table := attrTable{{{Name: "a", Value: "b"}}, {{Name: "c", Value: "d"}}}
	f.Fuzz(func(t *testing.T, flags, count, metaLen uint32, b []byte) {
		if uint64(metaLen) > uint64(len(b)) || flags&runUnknown != 0 {
			return
		}
		r := shardRun{count: count, metaLen: metaLen, dataLen: uint32(len(b)) - metaLen, flags: flags}
		h := head{base: 1}
		decoded, cut := 0, 0
		err := h.decodeRun(&r, b, table, func(rec hydrant.Record) bool { decoded += len(rec.Data) + 1; return true })
		cutErr := cutRun(&r, b, func(_ uint32, n int) bool { cut += n + 1; return true })
		if err == nil && (cutErr != nil || decoded != cut) {
			t.Fatalf("decoding gives %d, cutting %d, %v", decoded, cut, cutErr)
		}
	})
}
