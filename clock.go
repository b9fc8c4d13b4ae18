package hydrant

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrDeadline is Clock.Wait's answer when its time came first.
var ErrDeadline = errors.New("deadline reached")

// Never is the Wait deadline that does not come.
const Never time.Duration = -1

// Clock tells the time and is where everything in the data path waits: nothing there sleeps, selects or receives
// by itself, so that the simulation can decide who goes on.
type Clock interface {
	// Wall is the time of day. It may jump either way; only names and record times come from it.
	Wall() time.Time
	// Mono is the time since the process started. It never jumps; every interval is measured with it.
	Mono() time.Duration
	// Wait returns nil when one of the channels is closed (they are only ever closed, never sent to),
	// ErrDeadline when Mono reaches until, and ctx.Err() when ctx ends; nil wins when several hold.
	// A nil ctx does not end; until Never does not come.
	Wait(ctx context.Context, until time.Duration, on ...<-chan struct{}) error
}

// Go starts f on a goroutine of its own. Only the runner (cmd/hydrant/run.go) and the simulation implement it.
// Who starts something waits for its end: f closes a channel as the last thing it does.
type Go func(name string, f func())

// Bell wakes all who listen to it. The zero Bell is ready.
type Bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// Listen returns a channel that the next Ring closes. Listen first, then look at the state that Ring announces.
func (b *Bell) Listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// Ring wakes everyone who listens.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Turn is a lock that may be held across I/O and waits, which a mutex never is here: one holder, first come first
// served. The zero Turn is free.
type Turn struct {
	mu    sync.Mutex
	held  bool
	queue []chan struct{}
}

// Take waits for the turn. An error is ctx's; the turn is then not held.
func (t *Turn) Take(ctx context.Context, c Clock) error {
	t.mu.Lock()
	if !t.held {
		t.held = true
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	t.queue = append(t.queue, mine)
	t.mu.Unlock()
	err := c.Wait(ctx, Never, mine)
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, q := range t.queue {
		if q == mine {
			t.queue = append(t.queue[:i], t.queue[i+1:]...)
			return err
		}
	}
	t.give() // it was handed over in the moment that ctx ended
	return err
}

// Give passes the turn to the next in line.
func (t *Turn) Give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.give()
}

func (t *Turn) give() {
	if len(t.queue) == 0 {
		t.held = false
		return
	}
	close(t.queue[0])
	t.queue = t.queue[1:]
}

// SystemClock is the machine's clock. Make one with NewSystemClock.
type SystemClock struct{ start time.Time }

// NewSystemClock starts a clock whose Mono is zero now.
func NewSystemClock() SystemClock { return SystemClock{time.Now()} }

// Wall implements Clock.
func (SystemClock) Wall() time.Time { return time.Now() }

// Mono implements Clock.
func (c SystemClock) Mono() time.Duration { return time.Since(c.start) }

// Wait implements Clock.
func (c SystemClock) Wait(ctx context.Context, until time.Duration, on ...<-chan struct{}) error {
	if until == Never && ctx == nil && len(on) == 1 {
		<-on[0]
		return nil
	}
	for _, ch := range on {
		select {
		case <-ch:
			return nil
		default:
		}
	}
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	var timer <-chan time.Time
	if until != Never {
		t := time.NewTimer(until - c.Mono())
		defer t.Stop()
		timer = t.C
	}
	var on3 [3]<-chan struct{}
	if n := copy(on3[:], on); n < len(on) {
		panic("BUG: Clock.Wait takes at most 3 channels")
	}
	select {
	case <-on3[0]:
	case <-on3[1]:
	case <-on3[2]:
	case <-done:
		return ctx.Err()
	case <-timer:
		return ErrDeadline
	}
	return nil
}
