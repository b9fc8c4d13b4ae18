package proctest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A backlog costs disk, not memory: with 2 GB pending (HYDRANT_BACKLOG says otherwise, in bytes) a daemon is ready within
// two seconds, and delivers it all without ever holding more than its budget and 64 MiB.
func TestABacklogCostsDiskNotMemory(t *testing.T) {
	const memory, margin = 256 << 20, 64 << 20
	backlog := int64(2_000_000_000)
	if v := os.Getenv("HYDRANT_BACKLOG"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			t.Fatalf("HYDRANT_BACKLOG: %v", err)
		}
		backlog = n
	}
	s := newStore(t)
	s.answer(http.StatusServiceUnavailable)
	ds := newDeliveries(t)
	config := ds.with(t, "{max_bytes: 100GiB}", fmt.Sprintf(`{s3: {bucket: logs, endpoint: %q, %s}, batch: {size: 64MiB, interval: 1s}}`, s.URL, s3Access))

	// Filled through the door, by four clients.
	lines := make([]string, 25_000)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"n":%d,"path":"/item/%d","status":%d,"ms":%d,"agent":"%x","pad":"%s"}`,
			i, i*7919%10007, 200+i%7, i*104729%997, uint64(i)*0x9E3779B97F4A7C15, strings.Repeat("x", i%400))
	}
	text := body(lines)
	rounds := backlog/int64(len(text)) + 1
	d := start(t, launch{config: config}).ready()
	began := time.Now()
	var left atomic.Int64
	left.Store(rounds)
	var producers sync.WaitGroup
	for range 4 {
		producers.Go(func() {
			for left.Add(-1) >= 0 {
				if o, res := post(http.DefaultClient, ds.url, text); o != acknowledged {
					t.Errorf("POST: %v, want 200", res)
					return
				}
			}
		})
	}
	producers.Wait()
	filling, peak := time.Since(began), d.proc("VmHWM")
	if peak > memory+margin {
		t.Errorf("peak RSS while the backlog grows: %d MiB, want at most %d", peak>>20, (memory+margin)>>20)
	}
	d.kill()

	// Ready at once, and drained into a store that counts.
	var records, objects, stored atomic.Int64
	s.answer(0)
	s.into(func(r io.Reader) error {
		counted := &countingReader{r: r}
		z, err := gzip.NewReader(bufio.NewReaderSize(counted, 1<<16))
		if err != nil {
			return err
		}
		n, err := countNewlines(z)
		records.Add(n)
		objects.Add(1)
		stored.Add(counted.n)
		return err
	})
	began = time.Now()
	d = start(t, launch{config: config}).ready()
	ready := time.Since(began)
	if ready > 2*time.Second {
		t.Errorf("ready after %v, want within 2s", ready)
	}
	total := rounds * int64(len(lines))
	eventually(t, patience+time.Duration(backlog*100), "the backlog is delivered", func() bool { return records.Load() >= total })
	draining := time.Since(began)
	last := d.proc("VmHWM")
	if last > memory+margin {
		t.Errorf("peak RSS while the backlog is delivered: %d MiB, want at most %d", last>>20, (memory+margin)>>20)
	}
	d.stop()
	if n := records.Load(); n != total {
		t.Errorf("%d records arrived, want %d", n, total)
	}
	d.addsUp(total)
	t.Logf("%.1f GB pending, %d records: filled at %.0f MB/s, ready after %d ms, drained at %.0f MB/s into %d objects of %.0f MB; peak RSS %d MiB filling, %d MiB draining, budget %d MiB",
		float64(backlog)/1e9, total, float64(backlog)/1e6/filling.Seconds(), ready.Milliseconds(), float64(backlog)/1e6/draining.Seconds(),
		objects.Load(), float64(stored.Load())/1e6/float64(objects.Load()), peak>>20, last>>20, memory>>20)
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func countNewlines(r io.Reader) (int64, error) {
	buf := make([]byte, 1<<16)
	var count int64
	for {
		n, err := r.Read(buf)
		count += int64(bytes.Count(buf[:n], []byte("\n")))
		if err == io.EOF {
			return count, nil
		}
		if err != nil {
			return count, err
		}
	}
}
