package object

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compressor is what the codecs have in common.
type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// codec is one way to compress at one level.
type codec struct {
	encoding string // as Content-Encoding names it; "" for none
	ext      string
	make     func() compressor // nil for none
	pool     *sync.Pool        // of *stream, shared by the whole process
}

var (
	plainPool sync.Pool
	gzipPools [10]sync.Pool // by level
	zstdPools [zstd.SpeedBetterCompression + 1]sync.Pool
)

// zstdWindow bounds the memory of an encoder, to 3 to 7 MiB by level; gzip takes 1. Larger windows gain little on log lines.
const zstdWindow = 1 << 20

// newCodec finds a codec. An error says which levels there are, or that the name is unknown.
func newCodec(name string, level int) (codec, error) {
	switch name {
	case "none":
		return codec{pool: &plainPool}, nil
	case "gzip":
		if level == 0 {
			level = 6
		}
		if level < 1 || level > 9 {
			return codec{}, errors.New("1 to 9 for gzip")
		}
		return codec{"gzip", ".gz", func() compressor {
			w, err := gzip.NewWriterLevel(nil, level)
			if err != nil {
				panic("BUG: gzip level: " + err.Error())
			}
			return w
		}, &gzipPools[level]}, nil
	case "zstd":
		if level == 0 {
			level = 1
		}
		if level < 1 || level > 9 { // the levels above take 40 MiB an encoder, which no budget knows of (I14)
			return codec{}, errors.New("1 to 9 for zstd")
		}
		speed := zstd.EncoderLevelFromZstd(level)
		return codec{"zstd", ".zst", func() compressor {
			// Concurrency 1 compresses where it is called: no goroutines (I15).
			w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(zstdWindow))
			if err != nil {
				panic("BUG: zstd options: " + err.Error())
			}
			return w
		}, &zstdPools[speed]}, nil
	}
	return codec{}, fmt.Errorf("%q is no compression", name)
}

// stream compresses into a buffered file. Streams are reused: making a codec's tables costs more than many small objects.
type stream struct {
	file    io.WriteCloser
	buffer  *bufio.Writer
	packer  compressor // nil for no compression
	written int64      // to the file
}

const bufferSize = 64 << 10

// open lends a stream that writes to file.
func (c codec) open(file io.WriteCloser) *stream {
	s, ok := c.pool.Get().(*stream)
	if !ok {
		s = &stream{buffer: bufio.NewWriterSize(nil, bufferSize)}
		if c.make != nil {
			s.packer = c.make()
		}
	}
	s.file, s.written = file, 0
	s.buffer.Reset(fileEnd{s})
	if s.packer != nil {
		s.packer.Reset(s.buffer)
	}
	return s
}

// fileEnd is the file's side of a stream's buffer.
type fileEnd struct{ s *stream }

func (f fileEnd) Write(b []byte) (int, error) {
	n, err := f.s.file.Write(b)
	f.s.written += int64(n)
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	if s.packer != nil {
		return s.packer.Write(b)
	}
	return s.buffer.Write(b)
}

// end writes what is still inside; the file stays open.
func (s *stream) end() error {
	if s.packer != nil {
		if err := s.packer.Close(); err != nil {
			return err
		}
	}
	return s.buffer.Flush()
}

// release closes the file and gives the stream back.
func (c codec) release(s *stream) error {
	err := s.file.Close()
	s.file = nil
	c.pool.Put(s)
	return err
}

// empty is what an object without records holds: readers of the codec read nothing from it.
func (c codec) empty() []byte {
	var out buffer
	s := c.open(&out)
	err := s.end()
	if err = errors.Join(err, c.release(s)); err != nil {
		panic("BUG: a codec does not write into memory: " + err.Error())
	}
	return out
}

// buffer is a file in memory.
type buffer []byte

func (b *buffer) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }
func (*buffer) Close() error                  { return nil }
