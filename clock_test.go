package hydrant_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hydrantd/hydrant"
)

func TestWaitEndsByWhatComesFirst(t *testing.T) {
	const open, closed = false, true
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, row := range []struct {
		name  string
		ctx   context.Context
		until time.Duration
		on    []bool // whether each channel is closed
		want  error
		after time.Duration
	}{
		{"a closed channel", nil, hydrant.Never, []bool{closed}, nil, 0},
		{"the second of three channels", nil, hydrant.Never, []bool{open, closed, open}, nil, 0},
		{"a closed channel wins over an ended context", ended, hydrant.Never, []bool{closed}, nil, 0},
		{"a closed channel wins over a deadline passed", nil, 0, []bool{closed}, nil, 0},
		{"the context", ended, time.Hour, []bool{open}, context.Canceled, 0},
		{"the deadline", context.Background(), time.Minute, []bool{open}, hydrant.ErrDeadline, time.Minute},
		{"the deadline alone", nil, time.Second, nil, hydrant.ErrDeadline, time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := hydrant.NewSystemClock()
				var on []<-chan struct{}
				for _, isClosed := range row.on {
					ch := make(chan struct{})
					if isClosed {
						close(ch)
					}
					on = append(on, ch)
				}
				if err := c.Wait(row.ctx, row.until, on...); !errors.Is(err, row.want) {
					t.Errorf("Wait = %v, want %v", err, row.want)
				}
				if now := c.Mono(); now != row.after {
					t.Errorf("Wait took %v, want %v", now, row.after)
				}
			})
		})
	}
}

func TestBellWakesEveryListenerOnce(t *testing.T) {
	var b hydrant.Bell
	b.Ring() // nobody listens: nothing is kept
	one, two := b.Listen(), b.Listen()
	b.Ring()
	<-one
	<-two
	select {
	case <-b.Listen():
		t.Error("a ring before Listen was heard")
	default:
	}
}

func TestTurnGoesRoundInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn hydrant.Turn
		c := hydrant.NewSystemClock()
		if err := turn.Take(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		var order []int
		impatient, cancel := context.WithCancel(t.Context())
		for i := range 3 {
			ctx := t.Context()
			if i == 1 {
				ctx = impatient
			}
			go func() {
				if err := turn.Take(ctx, c); err != nil {
					return
				}
				order = append(order, i)
				turn.Give()
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		turn.Give()
		synctest.Wait()
		if len(order) != 2 || order[0] != 0 || order[1] != 2 {
			t.Errorf("turns went %v, want [0 2]: first come first served, who gave up left out", order)
		}
		if err := turn.Take(t.Context(), c); err != nil {
			t.Errorf("the turn is not free at the end: %v", err)
		}
	})
}
