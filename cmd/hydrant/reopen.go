package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hydrantd/hydrant"
)

// A log that cannot be opened because a disk is full or does not answer may be opened later: its pipeline holds until then, and
// the others work.

// How far attempts are apart: the time doubles.
const (
	reopenFirst = time.Second
	reopenLast  = 2 * time.Minute
)

// reopens tells whether it is of use to try again to open the log of p: a call of the system failed. What is wrong in the files does
// not pass, and run --once says at once what it could not do.
func (d *daemon) reopens(p *pipeline) bool {
	var call syscall.Errno
	return !d.once && errors.As(p.now().err, &call)
}

// reopen tries until the log of p is open, with the deliveries that need it. False: ctx or stop ended it.
func (d *daemon) reopen(ctx context.Context, stop <-chan struct{}, p *pipeline) bool {
	for wait := reopenFirst; ; wait = min(2*wait, reopenLast) {
		if err := d.clock.Wait(ctx, d.clock.Mono()+wait, stop); !errors.Is(err, hydrant.ErrDeadline) {
			return false
		}
		now, err := p.open()
		if err != nil {
			now.err = err
		}
		p.mu.Lock()
		p.parts = now
		p.mu.Unlock()
		if now.err == nil {
			d.log.Info("the log of a pipeline is open at last", "stream", p.name)
			close(p.opened)
			return true
		}
	}
}
