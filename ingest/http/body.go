package http

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/hydrantd/hydrant"
)

// lease is what one request has of the doors' memory. It is one loan that changes its size, so that a body larger than
// the whole budget gets through when it is alone.
type lease struct {
	memory *hydrant.Memory
	n      int64
}

func (l *lease) grow(by int64) error {
	want := l.n + by
	l.give()
	if !l.memory.Try(want) {
		return busy
	}
	l.n = want
	return nil
}

func (l *lease) give() {
	l.memory.Give(l.n)
	l.n = 0
}

// A client has patience, and a second more for each minRate bytes that it sent.
const (
	patience = 30 * time.Second
	minRate  = 16 << 10
)

// paced ends a body that comes too slowly.
type paced struct {
	body  io.Reader
	conn  *http.ResponseController
	start time.Time
	got   int64
}

func (p *paced) Read(b []byte) (int, error) {
	// Writers that know no deadline are the tests' own.
	_ = p.conn.SetReadDeadline(p.start.Add(patience + time.Duration(p.got)*time.Second/minRate))
	n, err := p.body.Read(b)
	p.got += int64(n)
	return n, err
}

// readBody reads the whole body and undoes its encoding. Both forms may be limit bytes long.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, lease *lease) ([]byte, error) {
	encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ","))
	decode, known := decoders[encoding]
	if !known {
		w.Header().Set("Accept-Encoding", "gzip, zstd")
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding is not known: send gzip, zstd or none")
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	conn := http.NewResponseController(w)
	stored, err := fill(&paced{body: r.Body, conn: conn, start: time.Now()}, r.ContentLength, limit, lease)
	// After an error the deadline stays: the server reads on for a while, to be able to answer.
	switch {
	case err == nil:
		_ = conn.SetReadDeadline(time.Time{}) // the wait for the log is not the client's
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(http.StatusRequestTimeout, "the body came too slowly")
	case isRefusal(err):
		return nil, err
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body ended early")
	}
	if decode == nil || len(stored) == 0 {
		return stored, nil
	}
	plain, err := decode(stored, limit, lease)
	if err != nil && !isRefusal(err) {
		return nil, refuse(http.StatusBadRequest, fmt.Sprintf("the body is not valid %s: %s", encoding, err))
	}
	return plain, err
}

// fill reads r to its end into memory that grows with what has come, so that a promise alone costs nothing. size is what
// is expected, -1 if unknown.
func fill(r io.Reader, size, limit int64, lease *lease) ([]byte, error) {
	const first = 64 << 10
	buf := []byte{}
	for {
		if len(buf) == cap(buf) {
			var one [1]byte // is there more at all?
			_, err := io.ReadFull(r, one[:])
			switch {
			case errors.Is(err, io.EOF):
				return buf, nil
			case err != nil:
				return nil, err
			case int64(len(buf)) == limit:
				return nil, tooLarge(limit)
			}
			next := min(max(first, 2*int64(cap(buf))), limit)
			if int64(len(buf)) < size {
				next = min(next, size)
			}
			if err := lease.grow(next - int64(cap(buf))); err != nil {
				return nil, err
			}
			buf = append(append(make([]byte, 0, next), buf...), one[0])
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// decoders undo a Content-Encoding; nil has nothing to undo. The stored body is in memory: while a decoder holds its
// window nobody waits for a client.
var decoders = map[string]func(stored []byte, limit int64, lease *lease) ([]byte, error){
	"":         nil,
	"identity": nil,
	"gzip":     gunzip,
	"x-gzip":   gunzip,
	"zstd":     unzstd,
}

func gunzip(stored []byte, limit int64, lease *lease) ([]byte, error) {
	const window = 64 << 10 // and tables
	if err := lease.grow(window); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	return fill(z, -1, limit, lease)
}

// unzstd allows windows up to 8 MiB, which is what RFC 9659 grants HTTP, and has memory for 1 MiB at first.
func unzstd(stored []byte, limit int64, lease *lease) ([]byte, error) {
	const usual, largest = 1 << 20, 8 << 20
	plain, err := unzstdWithin(usual, stored, limit, lease)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		plain, err = unzstdWithin(largest, stored, limit, lease)
	}
	return plain, err
}

func unzstdWithin(window int64, stored []byte, limit int64, lease *lease) ([]byte, error) {
	if err := lease.grow(2 * window); err != nil { // the decoder keeps as much again ahead of the window
		return nil, err
	}
	z, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return fill(z, -1, limit, lease)
}
