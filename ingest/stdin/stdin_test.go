package stdin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a log that remembers what was appended.
type recorder struct {
	mu     sync.Mutex
	lines  []string // pieces end in "+"
	keys   []string
	writes int
	fail   error
	each   chan struct{} // receives after each append, if not nil
}

func (r *recorder) Append(ctx context.Context, w *buffer.Write) (buffer.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return buffer.Receipt{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return buffer.Receipt{}, r.fail
	}
	if !w.Block {
		return buffer.Receipt{}, errors.New("stdin must wait while the log is full")
	}
	r.writes++
	for i := range w.Batch.Len() {
		line := string(w.Batch.At(i).Data)
		if w.Batch.At(i).Partial {
			line += "+"
		}
		r.lines, r.keys = append(r.lines, line), append(r.keys, string(w.Batch.At(i).Key))
	}
	if r.each != nil {
		r.each <- struct{}{}
	}
	return buffer.Receipt{}, nil
}

type door struct {
	t      *testing.T
	in     *os.File
	stop   chan struct{}
	cancel context.CancelFunc
	memory *hydrant.Memory
	ended  chan error
	wg     sync.WaitGroup
}

// opened runs the door on a pipe, whose other end is returned.
func opened(t *testing.T, maxLine config.Size, to ingest.Appender) (*door, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	d := &door{t: t, in: r, stop: make(chan struct{}), memory: hydrant.NewMemory(64 << 20), ended: make(chan error, 1)}
	s, err := open(Config{MaxLine: maxLine}, ingest.Deps{
		Clock: hydrant.NewSystemClock(), Memory: d.memory, Log: slog.New(slog.DiscardHandler),
		Go: func(_ string, f func()) { d.wg.Go(f) },
	}, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d.cancel = cancel
	t.Cleanup(cancel)
	d.wg.Go(func() { d.ended <- s.Run(ctx, d.stop, to) })
	return d, w
}

// end waits until the door is shut and everything is given back.
func (d *door) end() error {
	err := <-d.ended
	d.wg.Wait()
	if used := d.memory.Used(); used != 0 {
		d.t.Errorf("%d bytes of memory are still lent", used)
	}
	return err
}

func TestLinesToTheEnd(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"lines", "a\nb\n", []string{"a", "b"}},
		{"an unterminated last line", "a\nb", []string{"a", "b"}},
		{"empty lines, zero bytes, broken UTF-8", "\n\x00\n\xff\xfe\n", []string{"", "\x00", "\xff\xfe"}},
		{"a long line in pieces", strings.Repeat("x", 2500) + "\ny\n",
			[]string{strings.Repeat("x", 1024) + "+", strings.Repeat("x", 1024) + "+", strings.Repeat("x", 452), "y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &recorder{}
			d, w := opened(t, 1024, log)
			_, _ = io.WriteString(w, c.in)
			_ = w.Close()
			if err := d.end(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(log.lines, c.want) {
				t.Errorf("got %q, want %q", log.lines, c.want)
			}
		})
	}
}

func TestPiecesShareAShard(t *testing.T) {
	log := &recorder{}
	d, w := opened(t, 1024, log)
	_, _ = io.WriteString(w, "a\n"+strings.Repeat("x", 1500)+"\nb\n")
	_ = w.Close()
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "stdin", "stdin", ""}; !slices.Equal(log.keys, want) {
		t.Errorf("keys %q, want %q", log.keys, want)
	}
}

func TestManyShortLinesComeInSeveralAppends(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 3*maxRecords + 1
	if _, err := file.WriteAt([]byte(strings.Repeat("\n", lines)), 0); err != nil {
		t.Fatal(err)
	}
	log := &recorder{}
	var wg sync.WaitGroup
	s, _ := open(Config{MaxLine: 1 << 10}, ingest.Deps{
		Clock: hydrant.NewSystemClock(), Memory: hydrant.NewMemory(1), Go: func(_ string, f func()) { wg.Go(f) },
	}, file)
	if err := s.Run(t.Context(), nil, log); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if len(log.lines) != lines || log.writes != 4 {
		t.Errorf("%d lines in %d appends, want %d in 4", len(log.lines), log.writes, lines)
	}
}

func TestStopTakesWhatIsThere(t *testing.T) {
	log := &recorder{each: make(chan struct{}, 10)}
	d, w := opened(t, 1024, log)
	_, _ = io.WriteString(w, "a\n")
	<-log.each
	_, _ = io.WriteString(w, "half a li")
	close(d.stop)
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "half a li"}; !slices.Equal(log.lines, want) {
		t.Errorf("got %q, want %q", log.lines, want)
	}
}

func TestStopWhileNothingComes(t *testing.T) {
	d, _ := opened(t, 1024, &recorder{})
	close(d.stop)
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
}

func TestCancelWhileNothingComes(t *testing.T) {
	d, _ := opened(t, 1024, &recorder{})
	d.cancel()
	if err := d.end(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAnAppendThatFailsEndsTheDoor(t *testing.T) {
	for _, fail := range []error{buffer.ErrPoisoned, buffer.ErrClosed, io.ErrUnexpectedEOF} {
		d, w := opened(t, 1024, &recorder{fail: fail})
		_, _ = io.WriteString(w, "a\n")
		err := d.end()
		if !errors.Is(err, fail) || !strings.HasPrefix(err.Error(), "stdin: ") {
			t.Errorf("%v, want it to say stdin and %v", err, fail)
		}
	}
}
