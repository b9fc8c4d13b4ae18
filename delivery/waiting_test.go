package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/sinks"
	"github.com/hydrantd/hydrant/transform"
)

// beside makes one more delivery on the log of r, with a target of its own.
func (r *rig) beside(name string, batch Batch) *rig {
	other := &rig{t: r.t, dir: r.dir, log: r.log, target: newTarget(), errs: r.errs, lines: r.lines, o: r.o}
	other.o.Destination, other.o.Sink, other.o.Dir, other.o.Batch = name, other.target, r.dir+"/spool/"+name, batch
	return other
}

func TestABatchThatWaitsForItsTimeHoldsNoMemory(t *testing.T) {
	inRig(t, func(o *Options) { o.Memory = hydrant.NewMemory(48 << 20) }, func(r *rig) {
		all := []*rig{r.beside("quick", Batch{tenRecords, time.Second})}
		for i := range 26 {
			all = append(all, r.beside(fmt.Sprint("idle", i), Batch{tenRecords, 10 * time.Minute}))
		}
		for _, one := range all {
			one.start()
		}
		r.append("one")
		r.pass(2 * time.Second)
		all[0].target.holds(t, []string{"one"})
		if used := r.o.Memory.Used(); used != 0 {
			t.Errorf("%d bytes are held by batches that wait for their time", used)
		}
		for _, one := range all[1:] {
			if n := one.target.attempts(); n != 0 {
				t.Errorf("%s: %d attempts before its time", one.o.Destination, n)
			}
			if old := one.d.Counts().OldestPending; old != 2*time.Second {
				t.Errorf("%s: the oldest pending record is said to be %v old, want 2s", one.o.Destination, old)
			}
		}
		r.pass(10 * time.Minute)
		for _, one := range all {
			one.target.holds(t, []string{"one"})
			if old := one.d.Counts().OldestPending; old != 0 {
				t.Errorf("%s: the oldest pending record is said to be %v old at the end", one.o.Destination, old)
			}
			one.kill()
		}
	})
}

func TestTwoHundredDeliveriesArriveInTimeWithTheDefaultBudget(t *testing.T) {
	inRig(t, func(o *Options) { o.Memory = hydrant.NewMemory(192 << 20) }, func(r *rig) {
		var all []*rig
		for i := range 200 {
			one := r.beside(fmt.Sprint("d", i), Batch{tenRecords, time.Minute})
			one.start()
			all = append(all, one)
		}
		r.append("one")
		r.pass(time.Minute + time.Second)
		for _, one := range all {
			one.target.holds(t, []string{"one"})
			one.kill()
		}
	})
}

func TestABatchIsBuiltAsSoonAsItIsThereByAllWorkers(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency, o.Batch.Interval = 4, time.Hour }, func(r *rig) {
		r.target.hang = true
		r.start()
		want := numbered(45, 100)
		for i := range 9 {
			r.append(want[5*i : 5*i+5]...)
			synctest.Wait()
			if n := r.target.attempts(); n != (i+1)/2 {
				t.Errorf("after %d records %d batches are on their way, want %d", 5*i+5, n, (i+1)/2)
			}
		}
		r.kill()
		r.target.hang = false
		r.drained()
		r.target.holds(t, want)
	})
}

// crammed is a log that can be full.
type crammed struct {
	buffer.Log
	full atomic.Bool
}

func (l *crammed) State() buffer.State {
	s := l.Log.State()
	if l.full.Load() {
		s.Full = buffer.ErrFull
	}
	return s
}

func TestAFullLogEndsTheBatchThatWouldFreeIt(t *testing.T) {
	inRig(t, func(o *Options) { o.Batch.Interval = 15 * time.Minute }, func(r *rig) {
		l := &crammed{Log: r.log}
		r.o.Log = l
		r.start()
		r.append("one", "two")
		r.pass(time.Minute)
		if n := r.target.attempts(); n != 0 {
			t.Errorf("%d attempts before the log is full", n)
		}
		l.full.Store(true)
		r.pass(fullLook)
		r.target.holds(t, []string{"one", "two"})
		r.append("three")
		synctest.Wait()
		r.target.holds(t, []string{"one", "two", "three"})
		l.full.Store(false)
		r.append("four")
		r.pass(time.Minute)
		r.target.holds(t, []string{"one", "two", "three"})
		r.pass(15 * time.Minute)
		r.target.holds(t, []string{"one", "two", "three", "four"})
		r.kill()
	})
}

func TestTheTailOfAnEarlierRunGoesWhenThisOneBegins(t *testing.T) {
	inRig(t, func(o *Options) { o.Batch.Interval = time.Hour }, func(r *rig) {
		r.start()
		r.append("of the first run")
		r.pass(time.Minute)
		r.restart()
		r.pass(time.Minute)
		if n := r.target.attempts(); n != 0 {
			t.Errorf("%d attempts before its time", n)
		}
		r.append("of the second")
		synctest.Wait()
		r.target.holds(t, []string{"of the first run"})
		r.pass(time.Hour)
		r.target.holds(t, []string{"of the first run", "of the second"})
		r.kill()
	})
}

func TestOneWorkerDeliversInOrderWhatSeveralLeft(t *testing.T) {
	inRig(t, func(o *Options) { o.Concurrency = 4 }, func(r *rig) {
		// The first batch and the third cannot be built, the second and the fourth are Ready.
		r.target.encode = func(data string) error {
			if tens := data[len(data)-2]; tens == '0' || tens == '2' {
				return errors.New("no")
			}
			return nil
		}
		r.target.fail(func(int, *sinks.Shipment) error { return errRefused })
		want := numbered(60, 100)
		r.append(want...)
		r.start()
		r.pass(10 * time.Minute)
		if n := r.status().Ready; n != 2 {
			t.Errorf("%d batches are Ready, want 2", n)
		}
		r.kill()
		r.target.encode = nil
		r.target.fail(nil)
		r.o.Concurrency = 1
		r.drained()
		if got := r.target.data(); !slices.Equal(got, want) {
			t.Errorf("not in order: %.300q", got)
		}
	})
}

func TestABatchThatBeginsWithDamageHasNoAge(t *testing.T) {
	inRig(t, nil, func(r *rig) {
		r.start()
		r.d.oldest(5, 0)
		if old := r.d.Counts().OldestPending; old != 0 {
			t.Errorf("the oldest pending record is said to be %v old", old)
		}
		arrived := r.o.Clock.Wall().UnixMilli()
		r.d.oldest(9, arrived)
		r.pass(time.Minute)
		if old := r.d.Counts().OldestPending; old != time.Minute {
			t.Errorf("the oldest pending record is said to be %v old, want a minute", old)
		}
		r.kill()
	})
}

// watcher is a function that changes nothing and notes what is taken of the budget.
type watcher struct {
	memory *hydrant.Memory
	used   []int64 // at each chunk
}

func (w *watcher) Transform(_ context.Context, _, _ *hydrant.Batch, verdicts []transform.Verdict) error {
	w.used = append(w.used, w.memory.Used())
	for i := range verdicts {
		verdicts[i].Kind = transform.Unchanged
	}
	return nil
}

func TestTheBudgetKnowsOfALargeChunkAsLongAsItsMemoryIsKept(t *testing.T) {
	w := &watcher{}
	inRig(t, func(o *Options) { o.Transform, o.Batch.Size = w, 1<<30 }, func(r *rig) {
		w.memory = r.o.Memory
		r.append(strings.Repeat("x", 10<<20))
		r.append("a small one")
		r.drained()
		if len(w.used) != 2 || min(w.used[0], w.used[1]) < 10<<20 {
			t.Errorf("%d bytes were taken at each chunk, want 10 MiB and more at two", w.used)
		}
	})
}
