package delivery

import (
	"context"

	"github.com/hydrantd/hydrant"
)

// What building takes from the memory budget, in bytes. Chunks larger than chunkMemory are paid for once they are seen.
const (
	encoderMemory = 2 << 20
	chunkMemory   = 3 << 20
)

// lease is what one batch being built has taken from the budget (I14).
type lease struct {
	memory *hydrant.Memory
	clock  hydrant.Clock
	held   int64
}

// want makes the lease n bytes. Who has to wait holds nothing in the books meanwhile, so that nobody waits for one who waits.
func (l *lease) want(ctx context.Context, n int64) error {
	if n <= l.held {
		if n < l.held {
			l.memory.Give(l.held - n)
		}
		l.held = n
		return nil
	}
	if l.memory.Try(n - l.held) {
		l.held = n
		return nil
	}
	l.end()
	if err := l.memory.Take(ctx, l.clock, n); err != nil {
		return err
	}
	l.held = n
	return nil
}

func (l *lease) end() {
	if l.held > 0 {
		l.memory.Give(l.held)
		l.held = 0
	}
}
