package buffer

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
)

// ready is the entry of a batch that covers span, as a delivery writes it.
func ready(t *testing.T, span hydrant.Span) Entry {
	body := append([]byte(nil), golden(t, "entry-ready")...)
	binary.LittleEndian.PutUint64(body[12:], uint64(span.From))
	binary.LittleEndian.PutUint64(body[20:], uint64(span.To))
	return Entry{Type: entryReady, Body: body}
}

// TestDamageToTheLastBlock says what becomes of a log whose last block does not verify: if a journal shows that it was durable,
// or it was closed in good order, the block is damaged, and counted; else nobody was told that it was there.
func TestDamageToTheLastBlock(t *testing.T) {
	const a, b, c = "record one", "record two", "record three"
	body := func(f *fixture, seg string) {
		_, at := f.where(seg, b)
		f.patch(seg, at, []byte("R"))
	}
	head := func(f *fixture, seg string) {
		block, _ := f.where(seg, b)
		f.patch(seg, block+20, []byte{1})
	}
	gone := func(f *fixture, seg string) {
		block, _ := f.where(seg, b)
		f.patch(seg, block, make([]byte, blockAlign))
	}
	for _, row := range []struct {
		name      string
		committed hydrant.Position
		ready     hydrant.Position // end of a batch that waits for its target; 0: none
		closed    bool
		damage    func(f *fixture, seg string)
		read      []string // nil: it is not opened
		torn      bool
		counted   int64 // damaged, by the opening
	}{
		{"nobody was told of it", 2, 0, false, body, []string{a}, true, 0},
		{"nobody was told of it, and its head is damaged", 2, 0, false, head, []string{a}, true, 0},
		{"it is delivered", 4, 0, false, body, []string{a, "!2-3", c}, false, 1},
		{"it is delivered, and its head is damaged", 4, 0, false, head, []string{a, "!2-4"}, false, 2},
		{"it is in a batch that is Ready", 1, 4, false, body, []string{a, "!2-3", c}, false, 1},
		{"it is in a batch that is Ready, and its head is damaged", 1, 4, false, head, []string{a, "!2-4"}, false, 2},
		{"it is in a batch that is Ready, and left no trace", 1, 4, false, gone, nil, false, 0},
		{"the log was closed in good order", 1, 0, true, body, []string{a, "!2-3", c}, false, 0},
		{"the log was closed in good order, and its head is damaged", 1, 0, true, head, []string{a, "!2-4"}, false, 2},
		{"the log was closed in good order, and it is delivered", 4, 0, true, body, []string{a, "!2-3", c}, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, _, _ := newSimFixture(t)
			f.o.Shards = 2
			f.open()
			f.append(a)
			var last hydrant.Batch
			for lane, data := range []string{b, c} {
				key := []byte("k")
				for f.log.lanes.of(key) != lane {
					key[0]++
				}
				last.Append(hydrant.Record{Key: key, Data: []byte(data)})
			}
			if _, err := f.log.Append(t.Context(), &Write{Batch: &last}); err != nil {
				t.Fatal(err)
			}
			cursor := f.cursor("archive", Oldest)
			f.commit(cursor, row.committed)
			if row.ready > 0 {
				entries := []Entry{ready(t, hydrant.Span{From: row.committed, To: row.ready})}
				if err := cursor.Write(hydrant.PointReady, row.committed, entries, nil); err != nil {
					t.Fatal(err)
				}
			}
			if row.closed {
				f.close()
			} else {
				f.kill()
			}
			row.damage(f, f.segments()[0])
			if r, err := Verify(f.o.FS, f.o.Dir, io.Discard); err != nil || (r.Damaged == 0) != row.torn {
				t.Errorf("verify: %+v, %v", r, err)
			}
			if row.read == nil {
				want := "app/archive has spooled up to position 4, the log ends at 2"
				if _, _, err := Open(f.o); !errors.Is(err, ErrBehind) || !strings.Contains(err.Error(), want) {
					t.Fatalf("error %v, want %s", err, want)
				}
				return
			}
			f.o.Retention = 1 << 60
			f.open()
			f.want(1, row.read...)
			if (f.rec.Torn != nil) != row.torn || f.log.State().Damaged.Records != row.counted || row.counted > 0 && len(f.rec.Quarantined) != 1 {
				t.Errorf("torn %v, %d damaged, in quarantine %q; want %t, %d", f.rec.Torn, f.log.State().Damaged.Records, f.rec.Quarantined, row.torn, row.counted)
			}
			if got := f.append("more").Position(0); !row.torn && got != 4 || row.torn && got != 2 {
				t.Errorf("position %d is given", got)
			}
			for range 2 {
				f.reopen()
				f.want(1, append(append([]string{}, row.read...), "more")...)
				if s := f.log.State(); s.Appended.Records != int64(s.End)-1 || s.Damaged.Records != row.counted {
					t.Errorf("state %+v", s)
				}
			}
			f.close()
		})
	}
}

func TestAGapIsAcceptedUpToWhatIsReady(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	f.append("first record", "b", "c", "d", "e")
	c := f.cursor("archive", Oldest)
	entries := []Entry{ready(t, hydrant.Span{From: 2, To: 4}), ready(t, hydrant.Span{From: 4, To: 6})} // by two workers
	if err := c.Write(hydrant.PointReady, 2, entries, nil); err != nil {
		t.Fatal(err)
	}
	f.kill()
	seg := f.segments()[0]
	block, _ := f.where(seg, "first record")
	f.patch(seg, block, make([]byte, blockAlign)) // the volume of yesterday
	if _, _, err := Open(f.o); !errors.Is(err, ErrBehind) {
		t.Fatalf("error %v", err)
	}
	f.o.AcceptGap = []string{"archive"}
	f.open()
	if p := f.append("f").Position(0); p != 6 {
		t.Errorf("position %d is given twice", p)
	}
	if len(f.rec.Gaps) != 1 || f.log.State().Damaged.Records != 5 {
		t.Errorf("gaps %q, %+v", f.rec.Gaps, f.log.State())
	}
	f.close()
}

// TestAnOrderlyEndIsProved says that closing writes one block, once, and that a full disk is no reason not to close.
func TestAnOrderlyEndIsProved(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.open()
	f.append("a")
	f.close()
	for range 2 {
		f.open()
		if f.rec.Unproven != 0 || f.log.State().End != 2 {
			t.Errorf("%d records had to be copied, the end is %d", f.rec.Unproven, f.log.State().End)
		}
		before := f.log.w.at
		f.close()
		if f.log != nil || before != fileHeaderLen+blockAlign {
			t.Errorf("an opening without a record wrote up to %d", before)
		}
	}
	f.open()
	f.append("b")
	f.log.w.left = true // the proof would need a new segment
	disk.Capacity = disk.Used()
	f.close()
	disk.Capacity = 0
	f.open()
	if f.rec.Unproven != 1 || f.rec.Torn != nil {
		t.Errorf("%d records were copied, torn %v", f.rec.Unproven, f.rec.Torn)
	}
	f.close()
}
