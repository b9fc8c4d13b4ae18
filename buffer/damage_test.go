package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hydrantd/hydrant"
)

// TestAFlippedBitIsReportedExactly flips one bit anywhere in the files of a log. Whatever is then read must be right, whatever
// is not read must be in a span that was reported, and a batch that Measure ends must never lose more than that.
func TestAFlippedBitIsReportedExactly(t *testing.T) {
	f, disk, _ := newSimFixture(t)
	f.o.Shards = 3
	f.open()
	want := map[hydrant.Position]string{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		var b hydrant.Batch
		for j := range 1 + r.IntN(6) {
			b.Append(hydrant.Record{
				Key: fmt.Append(nil, "key ", r.IntN(9)), Data: fmt.Append(nil, i, ".", j, ":", string(make([]byte, r.IntN(700)))),
				Attrs: []hydrant.Attribute{{Name: "n", Value: fmt.Sprint(i % 3)}},
			})
		}
		rec, err := f.log.Append(t.Context(), &Write{Batch: &b})
		if err != nil {
			t.Fatal(err)
		}
		for j := range b.Len() {
			want[rec.Position(j)] = string(b.At(j).Data)
		}
		f.log.w.left = i%20 == 19
	}
	f.reopen()
	if err := damage(f.log, want); err != nil {
		t.Fatal(err)
	}
	costs := 0
	for i := range 400 {
		files := f.segments()
		name := files[r.IntN(len(files)-1)]
		bit := int64(r.IntN(80_000))
		if !disk.Flip(name, fileHeaderLen*8+bit) {
			continue
		}
		if i%10 == 0 { // at an opening as well
			f.close()
			f.open()
		}
		err := damage(f.log, want)
		if lost := (*lostError)(nil); errors.As(err, &lost) {
			costs++
		} else if err != nil {
			t.Fatalf("bit %d of %s: %v", bit, name, err)
		}
		disk.Flip(name, fileHeaderLen*8+bit)
		// Readers keep no verdict: what is mended is whole again.
		if err := damage(f.log, want); err != nil {
			t.Fatalf("bit %d of %s, mended: %v", bit, name, err)
		}
		f.log.files.keep = 0
		if err := f.log.files.trim(); err != nil {
			t.Fatal(err)
		}
		f.log.files.keep = openFiles
	}
	if costs < 50 {
		t.Errorf("%d flips cost something", costs)
	}
	f.close()
}

// lostError says that damage was met, and reported as it must be.
type lostError struct{ records int64 }

func (e *lostError) Error() string { return fmt.Sprintf("%d records are lost", e.records) }

// damage reads a log in batches as a delivery does, and compares.
func damage(l *Disk, want map[hydrant.Position]string) error {
	r := l.Reader(Filter{})
	var lost int64
	end := l.State().End
	for pos := hydrant.Position(1); pos < end; {
		e, err := r.Measure(pos, 3000, 1)
		if err != nil || e.To <= pos {
			return fmt.Errorf("measured from %d to %d: %w", pos, e.To, err)
		}
		for pos < e.To {
			var b hydrant.Batch
			next, err := r.Read(pos, e.To, &b)
			c := &Corrupt{Lost: hydrant.Span{From: next, To: next}}
			if err != nil && !errors.As(err, &c) || next <= pos || next > e.To {
				return fmt.Errorf("read of %d-%d to %d: %w", pos, e.To, next, err)
			}
			if c.Lost.To != next || c.Records != c.Lost.Len() || c.Lost.Len() > 6 {
				return fmt.Errorf("read of %d-%d to %d lost %s", pos, e.To, next, c.Lost)
			}
			if int64(b.Len()) != int64(c.Lost.From-pos) {
				return fmt.Errorf("read of %d-%d gave %d records and lost %s", pos, next, b.Len(), c.Lost)
			}
			for i := range b.Len() {
				if rec := b.At(i); want[rec.Pos] != string(rec.Data) || rec.Pos != pos+hydrant.Position(i) {
					return fmt.Errorf("position %d is wrong", rec.Pos)
				}
			}
			lost += c.Lost.Len()
			pos = next
		}
	}
	if lost > 0 {
		return &lostError{lost}
	}
	return nil
}

func TestWhatAReaderFindsDamagedIsKept(t *testing.T) {
	for say, where := range map[string]int64{"the head of a block": 20, "the records of a block": headLen + runLen + 6} {
		t.Run(say, func(t *testing.T) {
			f, disk, _ := newSimFixture(t)
			f.open()
			for i := range 3 {
				f.append(fmt.Sprint("record ", i))
			}
			at := f.log.w.at - 2*blockAlign // of the second
			name := f.log.w.seg.name()
			if !disk.Flip(filepath.Join(f.log.logDir(), name), 8*(at+where)) {
				t.Fatal("nothing was flipped")
			}
			want := make([]byte, blockAlign)
			file, err := f.o.FS.Open(filepath.Join(f.log.logDir(), name), os.O_RDONLY)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.ReadAt(want, at); err != nil {
				t.Fatal(err)
			}
			for range 2 { // met twice, kept once
				var b hydrant.Batch
				lost := (*Corrupt)(nil)
				if _, err := f.log.Reader(Filter{}).Read(2, 0, &b); !errors.As(err, &lost) || lost.Lost != (hydrant.Span{From: 2, To: 3}) {
					t.Fatalf("reading the damaged record: %v", err)
				}
			}
			kept, err := readWhole(f.o.FS, filepath.Join(f.log.quarantineDir(), fmt.Sprintf("%s+%d", name, at)))
			if err != nil || string(kept) != string(bytes.TrimRight(want, "\x00")) {
				t.Errorf("%d bytes are kept of the damaged block (%v), want it as it is", len(kept), err)
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
			f.close()
		})
	}
}

func TestDamageBehindTheCheckpointIsCounted(t *testing.T) {
	f, _, _ := newSimFixture(t)
	f.open()
	f.close()
	f.open() // its segment has no block of shards: the first records lie right behind the checkpoint
	f.append("record one", "record 1b")
	f.append("record two")
	f.append("record three")
	seg := f.segments()[len(f.segments())-1]
	f.kill()
	block, _ := f.where(seg, "record one")
	f.patch(seg, block+20, []byte{1})
	f.o.Retention = 1 << 60
	f.open()
	s := f.log.State()
	if s.Appended.Records != int64(s.End)-1 || s.Damaged.Records != 2 {
		t.Errorf("%d records appended before position %d, %d of them damaged; want one for each position, and 2", s.Appended.Records, s.End, s.Damaged.Records)
	}
	f.close()
}
