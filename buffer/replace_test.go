package buffer

import (
	"context"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// TestAnEmptySegmentIsReplaced appends a block for which the first segment, still empty, is too small: its successor has the
// same name, and must not be removed in its stead.
func TestAnEmptySegmentIsReplaced(t *testing.T) {
	w := sim.New(1)
	disk := w.NewDisk()
	if err := w.Run(func() {
		for _, want := range []hydrant.Position{1, 2} {
			p := w.NewProcess("p", disk, 0)
			done := make(chan struct{})
			p.Go("life", func() {
				defer close(done)
				d, _, err := Open(Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/log", Name: "log"})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := d.Cursor("c", Oldest); err != nil {
					t.Error(err)
				}
				if st := d.State(); st.End != want || st.Appended.Records != int64(want)-1 {
					t.Errorf("the log ends at %d with %d records, want %d", st.End, st.Appended.Records, want)
				}
				var b hydrant.Batch
				b.Append(hydrant.Record{Data: make([]byte, 1500<<10)})
				if _, err := d.Append(context.Background(), &Write{Batch: &b}); err != nil {
					t.Error(err)
				}
			})
			_ = w.Root().Wait(nil, hydrant.Never, done)
			p.Kill(true)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
