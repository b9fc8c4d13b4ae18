// Package stdin is the door for lines on standard input. It cannot resume: what was read is gone from the pipe, so
// what the log had not taken when the process died must be fed again by whoever has it.
package stdin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/ingest"
)

// Config is the section `stdin`.
type Config struct {
	MaxLine config.Size `yaml:"max_line" doc:"A longer line becomes several records, which are delivered as the one line they were. 1KiB–16MiB."`
}

// Check implements config.Checker.
func (c *Config) Check(r *config.Report) {
	if c.MaxLine < 1<<10 || c.MaxLine > 16<<20 {
		r.Problem("max_line", c.MaxLine.String(), "want 1KiB to 16MiB")
	}
}

// Kind makes the door from its section.
var Kind = ingest.Define(Config{MaxLine: 1 << 20}, func(c Config, d ingest.Deps) (ingest.Source, error) {
	return open(c, d, os.Stdin)
})

const (
	chunk      = 1 << 20 // what one round reads at the most
	maxRecords = 8192    // of one append: their index takes no more memory than their bytes
	indexBytes = maxRecords * int64(unsafe.Sizeof(hydrant.Record{}))
)

// pieces is the key of the pieces of a long line: it keeps them in one shard, one behind the other.
var pieces = []byte("stdin")

type source struct {
	in      *os.File
	maxLine int
	deps    ingest.Deps
	inLine  bool // the last record was a piece, and the next goes on with its line
}

func open(c Config, d ingest.Deps, in *os.File) (ingest.Source, error) {
	return &source{in: in, maxLine: int(c.MaxLine), deps: d}, nil
}

// Finite implements ingest.Source: it ends with its input.
func (s *source) Finite() bool { return true }

// String implements ingest.Source.
func (s *source) String() string { return "stdin" }

// Run implements ingest.Source.
func (s *source) Run(ctx context.Context, stop <-chan struct{}, to ingest.Appender) error {
	size := int64(s.maxLine + chunk)
	if err := s.deps.Memory.Take(ctx, s.deps.Clock, size+indexBytes); err != nil {
		return err
	}
	defer s.deps.Memory.Give(size + indexBytes)

	wake, closeWake, err := s.waker(ctx, stop)
	if err != nil {
		return err
	}
	defer closeWake()

	batch := &hydrant.Batch{}
	room := batch.Room(int(size))
	held := 0 // bytes at the front of room: read, but not yet a whole line
	for {
		n, end, err := s.read(room[held:min(held+chunk, len(room))], wake)
		if err != nil {
			return fmt.Errorf("stdin: %w", err)
		}
		rest, err := s.append(ctx, to, batch, room[:held+n], end)
		if err != nil || end {
			return err
		}
		held = copy(room, rest)
	}
}

// append makes records of the lines in data and returns what is not a whole line yet. The batch is only an index here:
// its records point into data, which outlives the Append.
func (s *source) append(ctx context.Context, to ingest.Appender, batch *hydrant.Batch, data []byte, end bool) (rest []byte, err error) {
	for {
		batch.Reset()
		for batch.Len() < maxRecords {
			line, partial, n := ingest.Line(data, s.maxLine, end)
			if n == 0 {
				break
			}
			r := hydrant.Record{Data: line, Partial: partial}
			if partial || s.inLine {
				r.Key = pieces
			}
			batch.View(r)
			s.inLine = partial
			data = data[n:]
		}
		if batch.Len() == 0 {
			return data, nil
		}
		if _, err := to.Append(ctx, &buffer.Write{Batch: batch, Block: true}); err != nil {
			return nil, fmt.Errorf("stdin: %d lines that were read may not be in the log: %w", batch.Len(), err)
		}
	}
}

// read waits for input and takes what is there, as far as p goes. end: nothing follows, because the input ended or the
// waker says so.
func (s *source) read(p []byte, wake int) (n int, end bool, err error) {
	fds := []unix.PollFd{
		{Fd: int32(s.in.Fd()), Events: unix.POLLIN},
		{Fd: int32(wake), Events: unix.POLLIN},
	}
	timeout := -1 // for the first piece; what follows is taken if it is there already
	for n < len(p) {
		_, err := unix.Poll(fds, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, false, os.NewSyscallError("poll", err)
		}
		end = fds[1].Revents != 0
		if fds[0].Revents == 0 {
			return n, end, nil
		}
		got, err := unix.Read(int(fds[0].Fd), p[n:])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return n, false, os.NewSyscallError("read", err)
		case got == 0:
			return n, true, nil
		}
		n += got
		timeout = 0
	}
	return n, end, nil
}

// waker returns a descriptor that becomes readable when stop is closed or ctx ends: poll can wait for that, not for a channel.
func (s *source) waker(ctx context.Context, stop <-chan struct{}) (fd int, closeAll func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	finished, gone := make(chan struct{}), make(chan struct{})
	s.deps.Go("stdin waker", func() {
		defer close(gone)
		// Whatever it is that ends the wait, the descriptor must tell.
		_ = s.deps.Clock.Wait(ctx, hydrant.Never, stop, finished)
		_ = w.Close()
	})
	return int(r.Fd()), func() {
		close(finished)
		_ = s.deps.Clock.Wait(context.Background(), hydrant.Never, gone)
		_ = r.Close()
	}, nil
}
