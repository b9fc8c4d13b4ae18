package hydrant

import (
	"context"
	"slices"
	"sync"
)

// Memory is a budget of bytes: what is taken from it is lent, what cannot be lent waits. It is the backpressure.
// Doors and deliveries have one each, so that a blocked door cannot starve the delivery that would unblock it.
// Who waits is served first come first served: a large loan does not starve behind small ones.
type Memory struct {
	mu    sync.Mutex
	total int64
	used  int64
	queue []*loan
}

// loan is one Take that waits.
type loan struct {
	n    int64
	lent chan struct{} // closed when it is
}

// NewMemory makes a budget of total bytes.
func NewMemory(total int64) *Memory { return &Memory{total: total} }

// Try takes n bytes if they are there and nobody waits for some. More than the whole budget is lent when nothing else
// is: one oversized thing at a time, rather than never.
func (m *Memory) Try(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lend(n)
}

func (m *Memory) lend(n int64) bool {
	if len(m.queue) > 0 || !m.has(n) {
		return false
	}
	m.used += n
	return true
}

// has tells whether n bytes are there. mu is held.
func (m *Memory) has(n int64) bool { return m.used <= 0 || m.used+n <= m.total }

// Take waits until n bytes are there. An error is ctx's; nothing is taken then. Who waits should hold nothing of the same
// budget: those behind wait for it as well.
func (m *Memory) Take(ctx context.Context, c Clock, n int64) error {
	m.mu.Lock()
	if m.lend(n) {
		m.mu.Unlock()
		return nil
	}
	mine := &loan{n, make(chan struct{})}
	m.queue = append(m.queue, mine)
	m.mu.Unlock()
	err := c.Wait(ctx, Never, mine.lent)
	if err == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := slices.Index(m.queue, mine); at >= 0 {
		m.queue = slices.Delete(m.queue, at, at+1)
	} else {
		m.used -= n // it was lent in the moment that ctx ended
	}
	m.serve()
	return err
}

// Give returns n bytes.
func (m *Memory) Give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.used < 0 {
		panic("BUG: more memory returned than was lent")
	}
	m.serve()
}

// serve lends to those that wait, in their order, as far as it goes. mu is held.
func (m *Memory) serve() {
	for len(m.queue) > 0 && m.has(m.queue[0].n) {
		m.used += m.queue[0].n
		close(m.queue[0].lent)
		m.queue = m.queue[1:]
	}
}

// Used and Total are for the metrics.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

func (m *Memory) Total() int64 { return m.total }
