package sim

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/hydrantd/hydrant"
)

// Process is one life of a daemon on a machine: from its start to its end or its crash. It is the clock of the code that
// runs in it, and starts its actors.
type Process struct {
	World *World
	Name  string
	Disk  *Disk // what a power cut of this machine hits; may be nil

	born  time.Duration
	skew  time.Duration // of the time of day
	dead  bool
	alive int
	gone  chan struct{}
	Crash *CrashPlan // nil: none is planned
}

var _ hydrant.Clock = (*Process)(nil)

// CrashPlan cuts the power directly before or after a sync.
type CrashPlan struct {
	Point   hydrant.Point
	Nth     int // which occurrence, from 1
	After   bool
	Power   bool // false: only the process is killed, and the page cache survives
	Crashed bool // set when it happened
}

// NewProcess starts a life on a disk, whose time of day is off by skew.
func (w *World) NewProcess(name string, d *Disk, skew time.Duration) *Process {
	return &Process{World: w, Name: name, Disk: d, born: w.now, skew: skew, gone: make(chan struct{})}
}

// Gone is closed when the process is killed.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Dead tells whether the process was killed, Alive how many of its actors have not ended.
func (p *Process) Dead() bool { return p.dead }
func (p *Process) Alive() int { return p.alive }

// Skew is how far the time of day is off; Jump moves it.
func (p *Process) Skew() time.Duration  { return p.skew }
func (p *Process) Jump(d time.Duration) { p.skew += d }

// Kill ends the process where it stands; power tells whether the machine goes down with it and the disk loses what was not
// synced. When the caller is itself an actor of the process, Kill does not return.
func (p *Process) Kill(power bool) {
	w := p.World
	if p.dead {
		return
	}
	w.note("kill", p.Name, int64(w.now), 0)
	p.dead = true
	close(p.gone)
	if p.Disk != nil {
		p.Disk.closeAll(p)
		if power {
			p.Disk.PowerCut()
		}
	}
	var mine []*actor
	suicide := false
	w.actors = slices.DeleteFunc(w.actors, func(a *actor) bool {
		if a.proc != p {
			return false
		}
		if a == w.current {
			suicide = true
			return false
		}
		mine = append(mine, a)
		return true
	})
	slices.SortFunc(mine, func(a, b *actor) int { return int(a.id) - int(b.id) })
	for _, a := range mine {
		w.unwind(a)
	}
	if suicide {
		panic(unwound{})
	}
}

// Go implements hydrant.Go.
func (p *Process) Go(name string, f func()) {
	if p.dead {
		panic(unwound{})
	}
	p.World.start(p, name, f)
}

// Wall implements hydrant.Clock.
func (p *Process) Wall() time.Time {
	p.enter("wall", "", 0, 0)
	return epoch.Add(p.World.now + p.skew)
}

// Mono implements hydrant.Clock.
func (p *Process) Mono() time.Duration {
	p.enter("mono", "", 0, 0)
	return p.World.now - p.born
}

// Wait implements hydrant.Clock.
func (p *Process) Wait(ctx context.Context, until time.Duration, on ...<-chan struct{}) error {
	if len(on) > 3 {
		panic("BUG: Clock.Wait takes at most 3 channels")
	}
	w := p.World
	if p.dead {
		panic(unwound{})
	}
	a := w.current
	if a == nil {
		panic("BUG: only an actor can wait")
	}
	if until != hydrant.Never {
		until += p.born
	}
	a.waiting, a.ctx, a.until, a.on, a.doing = true, ctx, until, on, "wait"
	w.yield()
	a.waiting, a.ctx, a.on = false, nil, nil
	var err error
	switch {
	case closed(on):
	case ctx != nil && ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = hydrant.ErrDeadline
	}
	w.note("waited", "", int64(w.now), result(err))
	return err
}

// Sleep lets virtual time pass.
func (p *Process) Sleep(d time.Duration) {
	w := p.World
	if w.current == nil {
		w.now += d
		return
	}
	a := w.current
	a.waiting, a.until = true, w.now+d
	w.yield()
	a.waiting = false
}

// Read fills b with the seed's random bytes: Rand of the code under test.
func (p *Process) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		var v [8]byte
		binary.LittleEndian.PutUint64(v[:], p.World.Rand.Uint64())
		copy(b[i:], v[:])
	}
	return len(b), nil
}

// enter is the beginning of every call into the simulated machine: a yield point, and the end of the road for an actor of
// a killed process.
func (p *Process) enter(op, s string, x, y int64) {
	if p.dead {
		panic(unwound{})
	}
	if a := p.World.current; a != nil {
		a.doing = op
	}
	p.World.note(op, s, x, y)
	p.World.yield()
	if p.dead {
		panic(unwound{})
	}
}

// result is an error as a number of the trace.
func result(err error) int64 {
	if err == nil {
		return 0
	}
	h := int64(1469598103934665603)
	for _, c := range []byte(err.Error()) {
		h = (h ^ int64(c)) * 1099511628211
	}
	return h
}

// plan counts an occurrence of a point and returns the crash plan if this is the one it waits for.
func (p *Process) plan(at hydrant.Point) *CrashPlan {
	c := p.Crash
	if c == nil || c.Crashed || c.Point != at {
		return nil
	}
	c.Nth--
	if c.Nth > 0 {
		return nil
	}
	return c
}

// cut carries a crash plan out; it does not return.
func (p *Process) cut(c *CrashPlan) {
	c.Crashed = true
	p.Kill(c.Power)
}
