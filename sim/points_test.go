package sim

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
)

// The points below are about what a full run hardly ever depends on. Each has a scenario of its own.

// shortLife runs f in a process of its own, with a log and a cursor, and kills it.
func shortLife(w *World, d *Disk, plan *CrashPlan, f func(p *Process, log *buffer.Disk, c buffer.Cursor) error) {
	p := w.NewProcess("p", d, 0)
	p.Crash = plan
	done := make(chan struct{})
	p.Go("life", func() {
		defer close(done)
		log, _, err := buffer.Open(buffer.Options{FS: d.FS(p), Clock: p, Rand: p, Dir: "/log", Name: "log"})
		if err != nil {
			w.Fail(err)
			return
		}
		c, err := log.Cursor("c", buffer.Oldest)
		if err == nil {
			err = f(p, log, c)
		}
		if err != nil {
			w.Fail(err)
		}
	})
	_ = w.Root().Wait(nil, hydrant.Never, done, p.Gone())
	p.Kill(true)
}

func appendSome(log *buffer.Disk, n int) error {
	var b hydrant.Batch
	for range n {
		b.Append(hydrant.Record{Data: bytes.Repeat([]byte("x"), 1000)})
	}
	_, err := log.Append(context.Background(), &buffer.Write{Batch: &b})
	return err
}

// TestNothingIsFreedBeforeItIsDone cuts the power while the end of the last batch in an old segment is being synced: what
// the cursor forgets must still be there.
func TestNothingIsFreedBeforeItIsDone(t *testing.T) {
	for seed := range uint64(100) {
		w := New(seed)
		d := w.NewDisk()
		if err := w.Run(func() {
			shortLife(w, d, nil, func(_ *Process, log *buffer.Disk, _ buffer.Cursor) error { return appendSome(log, 3) })
			shortLife(w, d, nil, func(_ *Process, log *buffer.Disk, _ buffer.Cursor) error { return appendSome(log, 3) })
			shortLife(w, d, &CrashPlan{Point: hydrant.PointDone, Nth: 1, Power: true}, func(_ *Process, _ *buffer.Disk, c buffer.Cursor) error {
				return c.Write(hydrant.PointDone, 4, []buffer.Entry{{Type: 1}}, nil)
			})
			shortLife(w, d, nil, func(_ *Process, log *buffer.Disk, c buffer.Cursor) error {
				var b hydrant.Batch
				from := c.Committed()
				next, err := log.Reader(buffer.Filter{}).Read(from, 0, &b)
				if err == nil && (next == from || b.At(0).Pos != from) {
					err = fmt.Errorf("nothing at %d", from)
				}
				return err
			})
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestTheReserveOutlivesAPowerCut fills the disk to the last byte around the space that is kept back.
func TestTheReserveOutlivesAPowerCut(t *testing.T) {
	for seed := range uint64(40) {
		w := New(seed)
		d := w.NewDisk()
		if err := w.Run(func() {
			const reserve = "/log/cursors/c.reserve"
			shortLife(w, d, nil, func(*Process, *buffer.Disk, buffer.Cursor) error { return nil })
			if got := d.Usage(reserve); got < 256<<10 {
				w.Fail(fmt.Errorf("%d bytes are left of what is kept back for the spool", got))
			}
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestDamagedBytesAreKept flips a bit in a block, lets the log recover, and cuts the power.
func TestDamagedBytesAreKept(t *testing.T) {
	for seed := range uint64(60) {
		w := New(seed)
		d := w.NewDisk()
		var segment string
		var was []byte
		if err := w.Run(func() {
			shortLife(w, d, nil, func(_ *Process, log *buffer.Disk, _ buffer.Cursor) error {
				for range 3 {
					if err := appendSome(log, 2); err != nil {
						return err
					}
				}
				return nil
			})
			m := &machine{scenario: &scenario{w: w}, disk: d}
			for _, name := range d.Files() {
				if strings.HasSuffix(name, ".seg") {
					segment = name
				}
			}
			whole, err := m.slurp(segment)
			if err != nil {
				w.Fail(err)
				return
			}
			at := bytes.Index(whole, []byte("xxxx")) &^ 511 // the first block with records
			d.Flip(segment, int64(at)*8+100)
			if whole, err = m.slurp(segment); err != nil {
				w.Fail(err)
				return
			}
			was = whole[at : at+512]
			shortLife(w, d, nil, func(*Process, *buffer.Disk, buffer.Cursor) error { return nil })
			kept := false
			for _, name := range d.Files() {
				if !strings.HasPrefix(name, "/log/quarantine/") {
					continue
				}
				b, err := m.slurp(name)
				if err != nil {
					w.Fail(err)
				}
				kept = kept || bytes.HasPrefix(b, was)
			}
			if !kept {
				w.Fail(fmt.Errorf("the damaged block at %s+%d is not in quarantine; there are %q", segment, at, d.Files()))
			}
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestAJournalOutlivesItsRewriting fills a journal again and again and cuts the power at one of the syncs of that.
func TestAJournalOutlivesItsRewriting(t *testing.T) {
	for seed := range uint64(60) {
		w := New(seed)
		d := w.NewDisk()
		tried, told := byte(0), byte(0)
		if err := w.Run(func() {
			for range 6 {
				plan := &CrashPlan{Point: hydrant.PointSnapshot, Nth: 1 + w.Rand.IntN(8), After: w.Rand.IntN(2) == 0, Power: true}
				shortLife(w, d, plan, func(_ *Process, _ *buffer.Disk, c buffer.Cursor) error {
					got := byte(0)
					if all := c.Entries(); len(all) > 0 {
						got = all[len(all)-1].Type
					}
					if got < told || got > tried {
						return fmt.Errorf("the journal ends with %d, and %d was durable, %d tried", got, told, tried)
					}
					body := make([]byte, 9000)
					for told = got; told < 255; {
						tried = told + 1
						if err := c.Write(hydrant.PointReady, 1, []buffer.Entry{{Type: tried, Body: body}}, func() []buffer.Entry { return []buffer.Entry{{Type: told}} }); err != nil {
							return err
						}
						told = tried
					}
					return nil
				})
			}
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestWhatWasAcknowledgedStays lets one short life follow another, each ended at some block, and reads everything at the end.
func TestWhatWasAcknowledgedStays(t *testing.T) {
	for seed := range uint64(120) {
		w := New(seed)
		d := w.NewDisk()
		said := map[hydrant.Position]string{}
		n := 0
		if err := w.Run(func() {
			for range 8 {
				plan := &CrashPlan{Point: hydrant.PointBlock, Nth: 1 + w.Rand.IntN(4), After: w.Rand.IntN(2) == 0, Power: w.Rand.IntN(2) == 0}
				shortLife(w, d, plan, func(_ *Process, log *buffer.Disk, _ buffer.Cursor) error {
					if err := compareAll(log, said); err != nil {
						return err
					}
					for range 5 {
						n++
						text := fmt.Sprintf("%d %s", n, strings.Repeat("x", w.Rand.IntN(3000)))
						var b hydrant.Batch
						b.Append(hydrant.Record{Data: []byte(text)})
						receipt, err := log.Append(context.Background(), &buffer.Write{Batch: &b})
						if err != nil {
							return err
						}
						said[receipt.Position(0)] = text
					}
					return nil
				})
			}
			shortLife(w, d, nil, func(_ *Process, log *buffer.Disk, _ buffer.Cursor) error { return compareAll(log, said) })
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// compareAll reads the whole log and holds it against what was said or read before; what is read now counts as said.
func compareAll(log *buffer.Disk, said map[hydrant.Position]string) error {
	r := log.Reader(buffer.Filter{})
	there := map[hydrant.Position]bool{}
	for from := hydrant.Position(1); ; {
		var b hydrant.Batch
		next, err := r.Read(from, 0, &b)
		if err != nil {
			return err
		}
		for i := range b.Len() {
			at := b.At(i)
			if was, ok := said[at.Pos]; ok && was != string(at.Data) {
				return fmt.Errorf("at %d there is %.10q, and it was %.10q", at.Pos, at.Data, was)
			}
			said[at.Pos], there[at.Pos] = string(at.Data), true
		}
		if next == from {
			break
		}
		from = next
	}
	if len(there) != len(said) {
		return fmt.Errorf("%d records are there, %d were acknowledged or read", len(there), len(said))
	}
	return nil
}
