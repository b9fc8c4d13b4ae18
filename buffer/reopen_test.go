package buffer

import (
	"testing"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/sim"
)

// TestAJournalThatWasOnlyInThePageCache kills the process before it has synced a rewritten journal, and cuts the power
// while its successor, which reads it from the page cache, rewrites it in turn: one of the two files has to survive.
func TestAJournalThatWasOnlyInThePageCache(t *testing.T) {
	points := []hydrant.Point{hydrant.PointSnapshot, hydrant.PointCursorFile}
	for seed := range uint64(200) {
		w := sim.New(seed)
		disk := w.NewDisk()
		if err := w.Run(func() {
			plans := []*sim.CrashPlan{
				nil,
				{Point: points[seed%2], Nth: 1, After: seed%3 == 0},
				{Point: points[seed/2%2], Nth: 1, Power: true, After: seed%5 == 0},
				nil,
			}
			for life, plan := range plans {
				p := w.NewProcess("p", disk, 0)
				p.Crash = plan
				done := make(chan struct{})
				p.Go("life", func() {
					defer close(done)
					d, _, err := Open(Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/log", Name: "log"})
					if err != nil {
						t.Errorf("seed %d, life %d: %v", seed, life, err)
						return
					}
					c, err := d.Cursor("c", Oldest)
					if err != nil {
						t.Errorf("seed %d, life %d: %v", seed, life, err)
						return
					}
					if life > 0 && len(c.Entries()) != 1 {
						t.Errorf("seed %d, life %d: %d entries, want 1", seed, life, len(c.Entries()))
					}
					if life == 0 {
						if err := c.Write(hydrant.PointDone, 1, []Entry{{Type: 1}}, nil); err != nil {
							t.Error(err)
						}
					}
				})
				_ = w.Root().Wait(nil, hydrant.Never, done, p.Gone())
				p.Kill(false)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingIsFreedByACommitInThePageCache kills the process before it has synced a Done, opens the log anew, and cuts the
// power: then the Done is gone, and what it settled must still be there (I6).
func TestNothingIsFreedByACommitInThePageCache(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		w := sim.New(seed)
		disk := w.NewDisk()
		if err := w.Run(func() {
			open := func(p *sim.Process) *fixture {
				f := &fixture{t: t, o: Options{FS: disk.FS(p), Clock: p, Rand: p, Dir: "/log", Name: "log"}}
				f.open()
				return f
			}
			one := w.NewProcess("one", disk, 0)
			one.Crash = &sim.CrashPlan{Point: hydrant.PointDone, Nth: 1}
			one.Go("life", func() {
				f := open(one)
				c := f.cursor("c", Oldest)
				f.append("a")
				f.log.w.left = true
				f.append("b")
				_ = c.Write(hydrant.PointDone, 3, nil, nil)
			})
			_ = w.Root().Wait(nil, hydrant.Never, one.Gone())
			two := w.NewProcess("two", disk, 0)
			finish(w, two, func() { open(two) })
			two.Kill(true)
			three := w.NewProcess("three", disk, 0)
			finish(w, three, func() {
				f := open(three)
				c := f.cursor("c", Oldest)
				if c.Committed() == 1 {
					lost++
				}
				if h := f.log.State().Horizon; h > c.Committed() {
					t.Errorf("seed %d: the log begins at %d, the cursor stands at %d", seed, h, c.Committed())
				}
			})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if lost == 0 {
		t.Error("the Done was durable every time")
	}
}
