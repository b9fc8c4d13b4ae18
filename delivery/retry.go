package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/hydrantd/hydrant"
)

// Attempts are a random time apart, evenly between nothing and a bound that doubles from 250 ms to a minute ("full
// jitter"): what failed together does not come back together.
const (
	backoffBase = 250 * time.Millisecond
	backoffMax  = time.Minute
	// While draining, what is left is tried at least this often: the grace period is short.
	backoffDraining = 2 * time.Second
)

// backoff is the wait before attempt tries+1.
func backoff(tries int, random io.Reader) time.Duration {
	bound := backoffMax
	if tries < 9 {
		bound = min(backoffMax, backoffBase<<max(0, tries-1))
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return bound
	}
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(bound+1))
}

// pause waits before the next attempt, at most until the time given (hydrant.Never: no such time). An error is ctx's.
func (d *Delivery) pause(ctx context.Context, tries int, until time.Duration) error {
	wait := backoff(tries, d.o.Rand)
	var wake []<-chan struct{}
	if d.draining() {
		wait = min(wait, backoffDraining)
	} else {
		wake = append(wake, d.drain)
	}
	at := d.o.Clock.Mono() + wait
	if until != hydrant.Never {
		at = min(at, until)
	}
	err := d.o.Clock.Wait(ctx, at, wake...)
	switch {
	case err == nil:
		d.beginDrain() // said here as well, or the next pause would end at once, and so on
	case !errors.Is(err, hydrant.ErrDeadline):
		return err
	}
	return nil
}
