// Package sim runs hydrant's own code on a machine that exists only in memory: one scheduler decides which actor goes
// on at every file call, network call and wait, a disk loses and tears what was not synced, a store answers late or
// never, and all of it follows from one seed. Two runs of a seed have the same trace.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hydrantd/hydrant"
)

// World is one simulated run. Everything in it happens on the goroutine that called Run, one actor at a time.
type World struct {
	Rand  *rand.Rand // the seed's random numbers: of the schedule, the faults and the scenario
	Trace io.Writer  // gets a line for each step, when set
	Limit int64      // steps after which the run is taken for endless

	now     time.Duration
	steps   int64
	hash    uint64
	stay    uint64 // how likely, of 256, the running actor goes on at a yield
	stall   uint64 // how likely, of 65536, time jumps to the next deadline although somebody could run
	names   int
	actors  []*actor
	chosen  *actor // who the scheduler resumes next, when a yield has decided it already
	current *actor
	timers  []timer
	failure error
	root    *Process
}

type timer struct {
	due time.Duration
	f   func()
}

// actor is one goroutine of the simulated program: a coroutine, so that a change of actors costs no more than a few calls.
type actor struct {
	name  string
	id    uint64
	proc  *Process
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool

	waiting bool // in Wait, on the four below
	ctx     context.Context
	until   time.Duration // on the world's clock; hydrant.Never
	on      []<-chan struct{}
	doing   string // for the report of a deadlock
}

// unwound is the panic that takes a killed actor off its stack.
type unwound struct{}

// epoch is the time of day at which every world begins.
var epoch = time.Date(2031, 3, 14, 15, 9, 26, 0, time.UTC)

// New makes a world from a seed.
func New(seed uint64) *World {
	w := &World{Rand: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), Limit: 2_000_000, hash: 14695981039346656037}
	w.stay = []uint64{0, 128, 230, 250}[w.Rand.IntN(4)]
	w.stall = []uint64{0, 20, 200}[w.Rand.IntN(3)]
	w.root = &Process{World: w, Name: "world"}
	return w
}

// Hash is the running hash of every step so far: who did what, with which arguments and result.
func (w *World) Hash() uint64 { return w.hash }

// Steps is the number of yield points passed, Now the time since the world began.
func (w *World) Steps() int64       { return w.steps }
func (w *World) Now() time.Duration { return w.now }

// Root is the process of the scenario itself: it has a clock and can start actors, and nothing kills it.
func (w *World) Root() *Process { return w.root }

// Fail ends the run; the first error counts.
func (w *World) Fail(err error) {
	if w.failure == nil {
		w.failure = err
	}
}

// Failed tells whether something failed already.
func (w *World) Failed() bool { return w.failure != nil }

// Run runs f as the first actor, until it returns or something fails. Whoever is still there then is unwound.
func (w *World) Run(f func()) error {
	ended := false
	w.start(w.root, "main", func() {
		f()
		ended = true
	})
	for !ended && w.failure == nil {
		a := w.chosen
		w.chosen = nil
		if a == nil {
			if a = w.choose(); a == nil {
				break
			}
		}
		w.current = a
		_, alive := a.next()
		w.current = nil
		if !alive {
			w.forget(a)
		}
	}
	for len(w.actors) > 0 {
		a := w.actors[len(w.actors)-1]
		a.proc.dead = true
		w.actors = w.actors[:len(w.actors)-1]
		w.unwind(a)
	}
	return w.failure
}

// start makes an actor. It first runs when the scheduler chooses it.
func (w *World) start(p *Process, name string, f func()) {
	w.names++
	a := &actor{name: name, id: uint64(w.names), proc: p}
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			// While an actor is being unwound its program's state means nothing, and neither does what it says then.
			if r := recover(); r != nil && !p.dead {
				w.Fail(fmt.Errorf("%s panicked: %v\n%s", a.name, r, debug.Stack()))
			}
		}()
		f()
	})
	p.alive++
	w.actors = append(w.actors, a)
	w.note("go", name, int64(a.id), 0)
}

func (w *World) forget(a *actor) {
	a.proc.alive--
	if i := slices.Index(w.actors, a); i >= 0 {
		w.actors = slices.Delete(w.actors, i, i+1)
	}
}

// unwind takes a killed actor off its stack: its deferred calls run, and panic anew at the first yield point.
func (w *World) unwind(a *actor) {
	was := w.current
	w.current = a
	a.stop()
	w.current = was
	a.proc.alive--
}

// ready tells whether an actor could go on.
func (a *actor) ready(now time.Duration) bool {
	if !a.waiting {
		return true
	}
	if closed(a.on) || a.until != hydrant.Never && a.until <= now {
		return true
	}
	return a.ctx != nil && a.ctx.Err() != nil
}

func closed(on []<-chan struct{}) bool {
	for _, ch := range on {
		select {
		case <-ch:
			return true
		default:
		}
	}
	return false
}

// choose picks the actor that goes on; when nobody can, time moves to the next deadline. Nil: nobody ever will, and
// the run has failed.
func (w *World) choose() *actor {
	if w.stall > 0 && w.Rand.Uint64()&0xffff < w.stall {
		w.advance(time.Minute)
	}
	for {
		w.fire()
		for n := len(w.actors); n > 0; {
			i := w.Rand.IntN(n)
			a := w.actors[i]
			if a.ready(w.now) {
				return a
			}
			n--
			w.actors[i], w.actors[n] = w.actors[n], w.actors[i]
		}
		if !w.advance(1 << 62) {
			w.Fail(errors.New("deadlock: nobody can go on and no deadline comes\n" + w.Waiting()))
			return nil
		}
	}
}

// advance moves time to the next deadline, if it is not further away than most. False: there is none.
func (w *World) advance(most time.Duration) bool {
	next := hydrant.Never
	at := func(t time.Duration) {
		if next == hydrant.Never || t < next {
			next = t
		}
	}
	for _, a := range w.actors {
		if a.waiting && a.until != hydrant.Never && a.until > w.now {
			at(a.until)
		}
	}
	for _, t := range w.timers {
		at(t.due)
	}
	if next == hydrant.Never {
		return false
	}
	if next-w.now <= most {
		w.now = max(w.now, next)
	}
	return true
}

// At runs f when the time is d from now, between two steps. f must not wait.
func (w *World) At(d time.Duration, f func()) { w.timers = append(w.timers, timer{w.now + d, f}) }

func (w *World) fire() {
	for i := 0; i < len(w.timers); {
		if t := w.timers[i]; t.due <= w.now {
			w.timers = slices.Delete(w.timers, i, i+1)
			t.f()
			continue
		}
		i++
	}
}

// Waiting says who waits for what.
func (w *World) Waiting() string {
	var s strings.Builder
	by := slices.Clone(w.actors)
	slices.SortFunc(by, func(a, b *actor) int { return int(a.id) - int(b.id) })
	for _, a := range by {
		until := "no deadline"
		if a.until != hydrant.Never {
			until = "until " + a.until.String()
		}
		if !a.waiting {
			until = "could run"
		}
		fmt.Fprintf(&s, "  %s/%s: %s, %d channels, %s, last step: %s\n", a.proc.Name, a.name, until, len(a.on), w.now, a.doing)
	}
	return s.String()
}

// yield is a point at which another actor may go on.
func (w *World) yield() {
	a := w.current
	if a == nil { // outside of Run: the scenario is being set up
		return
	}
	w.steps++
	w.now += time.Microsecond
	if w.steps > w.Limit {
		w.Fail(fmt.Errorf("no end after %d steps\n%s", w.steps, w.Waiting()))
	}
	if w.failure == nil {
		if w.stay > 0 && w.Rand.Uint64()&0xff < w.stay && a.ready(w.now) {
			return
		}
		w.chosen = w.choose()
		if w.chosen == a {
			w.chosen = nil
			return
		}
	}
	if !a.yield(struct{}{}) {
		panic(unwound{})
	}
}

// note adds a step to the trace.
func (w *World) note(op, s string, x, y int64) {
	const prime = 1099511628211
	h := w.hash
	if w.current != nil {
		h = (h ^ w.current.id) * prime
	}
	for i := range len(op) {
		h = (h ^ uint64(op[i])) * prime
	}
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	h = (h ^ uint64(x)) * prime
	w.hash = (h ^ uint64(y)) * prime
	if w.Trace != nil {
		name := "-"
		if w.current != nil {
			name = w.current.proc.Name + "/" + w.current.name
		}
		fmt.Fprintf(w.Trace, "%d %v %s: %s %s %d %d\n", w.steps, w.now, name, op, s, x, y)
	}
}

// chance is true in n of a million cases.
func (w *World) chance(n int) bool { return n > 0 && w.Rand.IntN(1_000_000) < n }

// between is a time from lo up to hi.
func (w *World) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.Rand.Int64N(int64(hi-lo)+1))
}
