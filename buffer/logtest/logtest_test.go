package logtest_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/buffer/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func onDisk(t testing.TB) logtest.Open {
	o := buffer.Options{
		FS: hydrant.OS{}, Clock: hydrant.NewSystemClock(), Rand: rand.Reader,
		Dir: filepath.Join(t.TempDir(), "streams", "app"), Name: "app", Shards: 4,
	}
	return func() (buffer.Log, error) {
		d, _, err := buffer.Open(o)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

func TestDisk(t *testing.T) { logtest.Run(t, onDisk) }

// broken is a Log with a fault: Append is replaced.
type broken struct {
	buffer.Log
	writes atomic.Int64
	append func(ctx context.Context, b *broken, n int64, w *buffer.Write) (buffer.Receipt, error)
}

func (b *broken) Append(ctx context.Context, w *buffer.Write) (buffer.Receipt, error) {
	return b.append(ctx, b, b.writes.Add(1), w)
}

// lossy answers every ninth write without keeping it.
func lossy(ctx context.Context, b *broken, n int64, w *buffer.Write) (buffer.Receipt, error) {
	if n%9 == 0 {
		return buffer.Receipt{}, nil
	}
	return b.Log.Append(ctx, w)
}

// doubling keeps every ninth write twice.
func doubling(ctx context.Context, b *broken, n int64, w *buffer.Write) (buffer.Receipt, error) {
	if n%9 == 0 {
		if r, err := b.Log.Append(ctx, w); err != nil {
			return r, err
		}
	}
	return b.Log.Append(ctx, w)
}

func TestTheSuiteFindsBrokenLogs(t *testing.T) {
	for name, fault := range map[string]func(context.Context, *broken, int64, *buffer.Write) (buffer.Receipt, error){"lossy": lossy, "doubling": doubling} {
		t.Run(name, func(t *testing.T) {
			failed := logtest.Failures(t, func(t testing.TB) logtest.Open {
				open := onDisk(t)
				return func() (buffer.Log, error) {
					l, err := open()
					return &broken{Log: l, append: fault}, err
				}
			})
			for _, must := range []string{"records come back as they went in", "positions are dense and receipts tell them", "concurrent appends are there once each"} {
				if failed[must] == nil {
					t.Errorf("a %s log passes %q", name, must)
				}
			}
		})
	}
}
