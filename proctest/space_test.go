package proctest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// A disk that is full before the cap and a cap that is reached act alike: HTTP is answered 429 with Retry-After, stdin
// blocks, both resume by themselves when the sink does, and nothing acknowledged is lost.
func TestAFullDiskAndAFullBufferHoldTheDoors(t *testing.T) {
	const stdinRecords = 60_000 // of 1 kB: more than any of the buffers here hold
	for _, row := range []struct {
		name, buffer string
		disk         int64 // MiB; 0 = the machine's own
	}{
		{"the disk is full", "{}", 32},
		{"the cap is reached", "{max_bytes: 32MiB}", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newStore(t)
			s.answer(http.StatusServiceUnavailable)
			addr, dir := freeAddr(t), t.TempDir()
			url := "http://" + addr + "/"
			if row.disk > 0 {
				mountDisk(t, filepath.Join(dir, "data"), row.disk)
			}
			config := writeConfig(t, dir, `
data_dir: data
pipelines:
  app:
    sources: [{http: {listen: %q, path: /}}, {stdin: {}}]
    buffer: %s
    batch: {size: 1MiB, interval: 1s}
    destinations:
      - s3: {bucket: logs, endpoint: %q, compression: none, %s}
`, addr, row.buffer, s.URL, s3Access)

			padding := strings.Repeat(" ", 1000)
			fromStdin := numbered("stdin", stdinRecords)
			for i := range fromStdin {
				fromStdin[i] += padding
			}
			var fed atomic.Int64
			pipe, feeder := io.Pipe()
			done := make(chan struct{})
			d := start(t, launch{config: config, stdin: pipe}).ready()
			go func() {
				defer close(done)
				for _, r := range fromStdin {
					if _, err := io.WriteString(feeder, r+"\n"); err != nil {
						return
					}
					fed.Add(1)
				}
				feeder.Close()
			}()
			t.Cleanup(func() { pipe.Close(); <-done })

			var sent []string
			var answer *http.Response
			for n := 0; answer == nil || answer.StatusCode != http.StatusTooManyRequests; n++ {
				records := numbered(fmt.Sprint("http ", n), 200)
				for i := range records {
					records[i] += padding
				}
				var o outcome
				if o, answer = post(http.DefaultClient, url, body(records)); o == acknowledged {
					sent = append(sent, records...)
				} else if o == unknown {
					t.Fatalf("a full buffer answered %v, want 429", answer)
				}
				if n > 1000 {
					t.Fatal("200 MB were acknowledged, and there is still room")
				}
			}
			if answer.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			if n := fed.Load(); n == stdinRecords {
				t.Errorf("all of stdin was taken in, want it to block")
			}
			if d.get("/healthz") != http.StatusOK {
				t.Error("a daemon with a full buffer is not healthy any more")
			}

			s.answer(0)
			<-done
			last := numbered("after the outage", 100)
			eventually(t, patience, "the HTTP door opens again", func() bool {
				o, _ := post(http.DefaultClient, url, body(last))
				return o == acknowledged
			})
			eventually(t, patience, "stdin is read to its end", func() bool {
				d := d.status().Pipelines["app"]
				return d.Appended.Records >= int64(len(sent)+len(last)+len(fromStdin))
			})
			d.stop()
			want(t, "the bucket", all(parseAll(t, "app-s3", s.listing("logs"))), slices.Concat(sent, last, fromStdin))
			d.addsUp(int64(len(sent) + len(last) + len(fromStdin)))
		})
	}
}

// mountDisk makes dir a file system of its own of so many MiB, until the test ends.
func mountDisk(t *testing.T, dir string, mebibytes int64) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mebibytes)); err != nil {
		t.Fatalf("a small disk cannot be mounted: %v; run the tests as root, with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("umount %s: %v", dir, err)
		}
	})
}
