package hydrant

import (
	"context"
	"sync"
)

// Memory is a budget of bytes: what is taken from it is lent, what cannot be lent waits. It is the backpressure.
// Doors and deliveries have one each, so that a blocked door cannot starve the delivery that would unblock it.
type Memory struct {
	mu    sync.Mutex
	total int64
	used  int64
	bell  Bell
}

// NewMemory makes a budget of total bytes.
func NewMemory(total int64) *Memory { return &Memory{total: total} }

// Try takes n bytes if they are there. More than the whole budget is lent when nothing else is: one oversized
// thing at a time, rather than never.
func (m *Memory) Try(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used > 0 && m.used+n > m.total {
		return false
	}
	m.used += n
	return true
}

// Take waits until n bytes are there. An error is ctx's; nothing is taken then.
func (m *Memory) Take(ctx context.Context, c Clock, n int64) error {
	for {
		heard := m.bell.Listen()
		if m.Try(n) {
			return nil
		}
		if err := c.Wait(ctx, Never, heard); err != nil {
			return err
		}
	}
}

// Give returns n bytes.
func (m *Memory) Give(n int64) {
	m.mu.Lock()
	m.used -= n
	if m.used < 0 {
		panic("BUG: more memory returned than was lent")
	}
	m.mu.Unlock()
	m.bell.Ring()
}

// Used and Total are for the metrics.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

func (m *Memory) Total() int64 { return m.total }
