package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
)

// someRecords makes records as a group has them: sorted by shard, positions from base on, each with a random choice of
// what a record may have beside its data.
func someRecords(r *rand.Rand, base hydrant.Position, n int, at int64) []hydrant.Record {
	attrs := [][]hydrant.Attribute{
		{{Name: "file", Value: "a"}}, {{Name: "file", Value: "b"}, {Name: "host", Value: "h"}}, {{Name: "host", Value: "\xff"}, {Name: "file", Value: ""}},
	}
	features := r.IntN(32)
	recs := make([]hydrant.Record, n)
	shard := r.Uint32N(3)
	for i := range recs {
		rec := &recs[i]
		if r.IntN(4) == 0 {
			shard += 1 + r.Uint32N(100)
		}
		*rec = hydrant.Record{Pos: base + hydrant.Position(i), Shard: shard, Time: at, Data: make([]byte, r.IntN(200))}
		for j := range rec.Data {
			rec.Data[j] = byte(r.Uint32())
		}
		if features&1 != 0 && r.IntN(2) == 0 {
			rec.Key = []byte(strings.Repeat("k", r.IntN(300)))
		}
		if features&2 != 0 {
			rec.Time += r.Int64N(2000) - 1000
		}
		if features&4 != 0 && r.IntN(2) == 0 {
			rec.Origin = &hydrant.Identity{Log: hydrant.LogID{byte(i)}, Run: hydrant.RunID{1}, Pos: hydrant.Position(r.Uint64()), Sub: r.Uint32()}
		}
		if features&8 != 0 && r.IntN(3) > 0 {
			rec.Attrs = append([]hydrant.Attribute(nil), attrs[r.IntN(len(attrs))]...)
		}
		rec.Partial = features&16 != 0 && r.IntN(2) == 0
	}
	return recs
}

func someNotes(r *rand.Rand) []Note {
	var notes []Note
	for range r.IntN(4) {
		n := Note{Type: NoteMayIgnore + uint16(r.Uint32()>>17), Body: make([]byte, r.IntN(50))}
		notes = append(notes, n)
	}
	return notes
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		salt := [16]byte{byte(seed), 7}
		h := head{
			kind: kindData, base: 1 + hydrant.Position(r.Uint64()>>1), time: r.Int64(), wall: r.Int64(), run: hydrant.RunID{byte(seed)},
			seq: r.Uint32(), prev: r.Uint32(),
		}
		recs, notes := someRecords(r, h.base, r.IntN(40), h.time), someNotes(r)
		front := []byte("what was there before")
		b := appendBlock(bytes.Clone(front), &salt, &h, recs, notes)
		if !bytes.HasPrefix(b, front) {
			t.Fatalf("seed %d: what was there before is gone", seed)
		}
		b = b[len(front):]
		if len(b)%blockAlign != 0 || len(b) != int(h.length) {
			t.Fatalf("seed %d: %d bytes, length says %d", seed, len(b), h.length)
		}
		got, gotRecs, gotNotes, err := decodeBlock(b, &salt)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, h) {
			t.Fatalf("seed %d: head\n%+v\nwant\n%+v", seed, got, h)
		}
		if len(gotNotes) > len(notes) {
			gotNotes = gotNotes[1:] // the attributes
		}
		if len(recs) != len(gotRecs) || len(recs) > 0 && !reflect.DeepEqual(gotRecs, recs) {
			t.Fatalf("seed %d: records\n%+v\nwant\n%+v", seed, gotRecs, recs)
		}
		if len(notes) != len(gotNotes) || len(notes) > 0 && !reflect.DeepEqual(gotNotes, notes) {
			t.Fatalf("seed %d: notes %v, want %v", seed, gotNotes, notes)
		}
		again := h
		if second := appendBlock(nil, &salt, &again, gotRecs, append([]Note{{Type: NoteAttributes}}, gotNotes...)); !bytes.Equal(second, b) {
			t.Fatalf("seed %d: a block that was read is written as another one", seed)
		}
		checkCut(t, seed, &h, b, recs)
	}
}

func checkCut(t *testing.T, seed uint64, h *head, b []byte, recs []hydrant.Record) {
	t.Helper()
	var total int64
	for i := range h.runs {
		r := &h.runs[i]
		err := cutRun(r, b[r.offset:][:r.stored()], func(i uint32, length int) bool {
			if want := len(recs[r.first+i].Data); length != want {
				t.Fatalf("seed %d: record %d has %d bytes, want %d", seed, r.first+i, length, want)
			}
			total += int64(length)
			return true
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if total != h.bytes() {
		t.Fatalf("seed %d: %d bytes of data, the head says %d", seed, total, h.bytes())
	}
}

func TestPayloadSizeIsNeverTooSmall(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		h := head{kind: kindData, base: 1, time: 1000}
		recs, notes := someRecords(r, 1, 1+r.IntN(40), h.time), someNotes(r)
		var first, second hydrant.Batch // the block is of two Writes, which share its runs
		for i := range recs {
			recs[i].Time = h.time
			if i%2 == 0 {
				first.Append(recs[i])
			} else {
				second.Append(recs[i])
			}
		}
		appendBlock(nil, &[16]byte{}, &h, recs, notes)
		last := h.runs[len(h.runs)-1]
		used := int64(last.offset) + int64(last.stored()) - int64(headLen+len(h.runs)*runLen)
		if bound := payloadSize(&first, notes) + payloadSize(&second, nil); used > bound {
			t.Fatalf("seed %d: %d bytes, bound %d", seed, used, bound)
		}
	}
	if n := payloadSize(nil, []Note{{Body: []byte("abc")}}); n != noteHeadLen+3 {
		t.Errorf("a note of 3 bytes takes %d", n)
	}
}

// TestEveryFlippedBitIsNoticed flips every bit of a block: what was in the part that has it is refused, the rest is there.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	b := golden(t, "block-full")
	h, _, _, err := decodeBlock(b, &goldenSalt)
	if err != nil {
		t.Fatal(err)
	}
	last := h.runs[len(h.runs)-1]
	for bit := range (int(last.offset) + last.stored()) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, _, err := decodeBlock(b, &goldenSalt); !errors.Is(err, errNoBlock) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	other := goldenSalt
	other[3]++
	if _, err := parseHead(b, &other); !errors.Is(err, errNoBlock) {
		t.Errorf("a block of another segment is taken for one of this: %v", err)
	}
}

func TestEveryFlippedBitOfAHeaderIsPutRight(t *testing.T) {
	b, want := golden(t, "segment-header"), goldenSegmentHeader()
	want.mended = true
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if h, err := parseSegmentHeader(b); err != nil || h != want {
			t.Fatalf("bit %d: %+v, %v", bit, h, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestWhatIsNoHeaderIsCalledForeign(t *testing.T) {
	two := golden(t, "segment-header")
	two[20] ^= 3
	zeroBase := segmentHeader{}
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"zeros":                 make([]byte, fileHeaderLen),
		"a short file":          golden(t, "segment-header")[:500],
		"two flipped bits":      two,
		"a journal":             golden(t, "cursor-header"),
		"a segment at position": zeroBase.encode(),
	} {
		if _, err := parseSegmentHeader(b); !errors.Is(err, errForeign) || errors.Is(err, ErrNewerFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseCursorHeader(golden(t, "segment-header")); !errors.Is(err, errForeign) {
		t.Errorf("a segment as a journal: %v", err)
	}
}

func TestEveryFlippedBitOfAFrameIsNoticed(t *testing.T) {
	b := golden(t, "frame")
	entries := len("done") + len("ready!") + 3*entryHeadLen
	for bit := range (frameHeadLen + entries) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := parseFrame(b, &goldenSalt); !errors.Is(err, errNoFrame) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	if _, _, err := parseFrame(make([]byte, 4096), &goldenSalt); !errors.Is(err, errNoFrame) {
		t.Errorf("zeros: %v", err)
	}
}

func TestNotesThatMustBeKnownAreRefused(t *testing.T) {
	for _, c := range []struct {
		note    Note
		refused bool
	}{
		{Note{Type: NoteSource}, false},
		{Note{Type: NoteDedupeFrom, Flags: 0x100}, false},
		{Note{Type: NoteDedupeFrom + 1}, true},
		{Note{Type: NoteSource, Flags: 1}, true},
		{Note{Type: NoteMayIgnore}, false},
		{Note{Type: NoteMayIgnore - 1}, true},
		{Note{}, true},
	} {
		if err := c.note.Unknown(); errors.Is(err, ErrNewerFormat) != c.refused {
			t.Errorf("type %d, flags %#x: %v", c.note.Type, c.note.Flags, err)
		}
	}
	body := Invocation{Count: 1}.Note().Body
	body[len(body)-1] = 2
	if _, err := ParseInvocation(body); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("an invocation of form 2: %v", err)
	}
}

// TestHeadsThatLieAreRefused changes a number in a head and seals it again.
func TestHeadsThatLieAreRefused(t *testing.T) {
	for name, lie := range map[string]func(h *head){
		"a length that is no multiple":   func(h *head) { h.length++ },
		"no length":                      func(h *head) { h.length = 0 },
		"a length above the largest":     func(h *head) { h.length = MaxBlock + blockAlign },
		"a length before the end":        func(h *head) { h.length = blockAlign; h.runs[0].dataLen += 4096 },
		"base 0":                         func(h *head) { h.base = 0 },
		"a base near the end":            func(h *head) { h.base = ^hydrant.Position(0) },
		"a count that is not the runs'":  func(h *head) { h.count++ },
		"notes beyond the first run":     func(h *head) { h.notesLen++ },
		"a run without records":          func(h *head) { h.runs[0].count = 0 },
		"a hole in the positions":        func(h *head) { h.runs[1].first++ },
		"a hole in the bytes":            func(h *head) { h.runs[1].offset++ },
		"shards that fall":               func(h *head) { h.runs[0].shard = 9 },
		"more records than bytes":        func(h *head) { h.runs[1].count += 1000; h.count += 1000 },
		"lengths that wrap around":       func(h *head) { h.runs[1].metaLen = 1<<32 - 1; h.runs[1].dataLen = 1<<32 - 1 },
		"a first run far behind the end": func(h *head) { h.runs[0].offset = 1 << 31; h.runs[1].offset = 1 << 31 },
	} {
		b := golden(t, "block-full")
		h, err := parseHead(b, &goldenSalt)
		if err != nil {
			t.Fatal(err)
		}
		lie(&h)
		h.put(b, &goldenSalt)
		if _, err := parseHead(b, &goldenSalt); !errors.Is(err, errNoBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlocksThatNobodyCouldReadAreNotWritten(t *testing.T) {
	for name, recs := range map[string][]hydrant.Record{
		"unsorted":  {{Shard: 2}, {Shard: 1}},
		"too large": {{Data: make([]byte, MaxBlock)}},
	} {
		func() {
			defer func() {
				if why, _ := recover().(string); !strings.HasPrefix(why, "BUG: ") {
					t.Errorf("%s: %v", name, why)
				}
			}()
			appendBlock(nil, &goldenSalt, &head{base: 1}, recs, nil)
		}()
	}
}

func TestUnwindIsTheInverseOfUpdate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 100 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		state := r.Uint32()
		if got := unwind(crc32.Update(state, castagnoli, b), b); got != state {
			t.Fatalf("%d bytes: %08x, want %08x", n, got, state)
		}
		salt := saltFor(state)
		if got := crc32.Checksum(salt[:], castagnoli); got != state {
			t.Fatalf("a salt for %08x has %08x", state, got)
		}
	}
}

func BenchmarkBlock(b *testing.B) {
	recs := make([]hydrant.Record, 4000)
	data := bytes.Repeat([]byte("x"), 250)
	for i := range recs {
		recs[i] = hydrant.Record{Pos: hydrant.Position(i + 1), Time: 5, Data: data}
	}
	for _, keyed := range []bool{false, true} {
		for i := range recs {
			if keyed {
				recs[i].Key = data[:12]
			}
		}
		var buf []byte
		h := head{kind: kindData, base: 1, time: 5}
		b.Run(fmt.Sprintf("encode/keyed=%v", keyed), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(recs) * len(data)))
			for b.Loop() {
				buf = appendBlock(buf[:0], &goldenSalt, &h, recs, nil)
			}
		})
		b.Run(fmt.Sprintf("decode/keyed=%v", keyed), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(recs) * len(data)))
			for b.Loop() {
				h, err := parseHead(buf, &goldenSalt)
				if err != nil {
					b.Fatal(err)
				}
				r := &h.runs[0]
				run := buf[r.offset:][:r.stored()]
				if err := h.checkRun(r, run, &goldenSalt); err != nil {
					b.Fatal(err)
				}
				n := 0
				if err := h.decodeRun(r, run, nil, func(rec hydrant.Record) bool { n += len(rec.Data); return true }); err != nil || n != 4000*250 {
					b.Fatal(n, err)
				}
			}
		})
	}
}
