package http

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/hydrantd/hydrant"
	"github.com/hydrantd/hydrant/buffer"
	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a log that remembers what was appended.
type recorder struct {
	mu      sync.Mutex
	records []string
	writes  int
	fail    error
	entered chan struct{} // receives when an append begins, if not nil; it then waits for release
	release chan struct{}
}

func (r *recorder) Append(_ context.Context, w *buffer.Write) (buffer.Receipt, error) {
	if r.entered != nil {
		r.entered <- struct{}{}
		<-r.release
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return buffer.Receipt{}, r.fail
	}
	if w.Block {
		return buffer.Receipt{}, errors.New("the door must not wait while the log is full")
	}
	r.writes++
	for i := range w.Batch.Len() {
		r.records = append(r.records, string(w.Batch.At(i).Data))
	}
	return buffer.Receipt{}, nil
}

// muxFunc hands the handler of a door to its test.
type muxFunc func(http.Handler)

func (f muxFunc) Handle(_, _, _, _ string, h http.Handler) error { f(h); return nil }

type door struct {
	*httptest.Server
	t      *testing.T
	memory *hydrant.Memory
	source ingest.Source
	stop   chan struct{}
	ended  chan error
}

// opened runs a door in front of to. The test ends it with shut, or leaves that to the clean-up.
func opened(t *testing.T, cfg Config, memory int64, to ingest.Appender) *door {
	t.Helper()
	d := &door{t: t, memory: hydrant.NewMemory(memory), stop: make(chan struct{}), ended: make(chan error, 1)}
	var handler http.Handler
	s, err := open(cfg, ingest.Deps{
		Clock: hydrant.NewSystemClock(), Memory: d.memory, Log: slog.New(slog.DiscardHandler),
		HTTP: muxFunc(func(h http.Handler) { handler = h }),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.source = s
	d.Server = httptest.NewUnstartedServer(handler)
	d.EnableHTTP2 = true
	if cfg.TLS.CertFile != "" {
		d.StartTLS()
	} else {
		d.Start()
	}
	go func() { d.ended <- s.Run(context.Background(), d.stop, to) }()
	t.Cleanup(func() {
		select {
		case <-d.stop:
		default:
			d.shut()
		}
		d.Close()
		if used := d.memory.Used(); used != 0 {
			t.Errorf("%d bytes of memory are still lent", used)
		}
	})
	return d
}

func (d *door) shut() {
	d.t.Helper()
	close(d.stop)
	if err := <-d.ended; err != nil {
		d.t.Error(err)
	}
}

// ask sends one request and returns status, header and the answer's text.
func (d *door) ask(method, body string, header ...string) (int, http.Header, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.URL+"/logs", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := d.Client().Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if !json.Valid(text) {
		d.t.Errorf("the answer %q is no JSON", text)
	}
	return answer.StatusCode, answer.Header, strings.TrimSpace(string(text))
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func zstandard(s string, o ...zstd.EOption) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func TestBodies(t *testing.T) {
	const limit = 200 << 10
	long := strings.Repeat("x", limit)
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		records    []string
	}{
		{"lines", "a\nb\n", nil, 200, []string{"a", "b"}},
		{"the final newline is optional", "a\nb", nil, 200, []string{"a", "b"}},
		{"carriage returns, zero bytes and broken UTF-8 are data", "a\r\n\x00\n\xff\n", nil, 200, []string{"a\r", "\x00", "\xff"}},
		{"an empty line is a record", "a\n\nb", nil, 200, []string{"a", "", "b"}},
		{"no body, no record", "", nil, 200, nil},
		{"an octet stream is one record", "a\nb\n", []string{"Content-Type", "application/octet-stream; x=y"}, 200, []string{"a\nb\n"}},
		{"an empty octet stream is none", "", []string{"Content-Type", "application/octet-stream"}, 200, nil},
		{"gzip", gzipped("a\nb"), []string{"Content-Encoding", "gzip"}, 200, []string{"a", "b"}},
		{"gzip of several members", gzipped("a\n") + gzipped("b"), []string{"Content-Encoding", "x-gzip"}, 200, []string{"a", "b"}},
		{"zstd", zstandard("a\nb"), []string{"Content-Encoding", "zstd"}, 200, []string{"a", "b"}},
		{"zstd of several frames", zstandard("a\n") + zstandard("b"), []string{"Content-Encoding", "ZSTD"}, 200, []string{"a", "b"}},
		{"zstd with the largest window", zstandard(long, zstd.WithWindowSize(8<<20)), []string{"Content-Encoding", "zstd"}, 200, []string{long}},
		{"identity", "a", []string{"Content-Encoding", "identity"}, 200, []string{"a"}},
		{"just as large as allowed", long, nil, 200, []string{long}},
		{"just as large, compressed", gzipped(long), []string{"Content-Encoding", "gzip"}, 200, []string{long}},
		{"too large", long + "x", nil, 413, nil},
		{"too large, compressed", gzipped(long + "x"), []string{"Content-Encoding", "gzip"}, 413, nil},
		{"a gzip bomb", gzipped(strings.Repeat("x", 8<<20)), []string{"Content-Encoding", "gzip"}, 413, nil},
		{"a zstd bomb", zstandard(strings.Repeat("x", 8<<20)), []string{"Content-Encoding", "zstd"}, 413, nil},
		{"a larger zstd window", zstandard(strings.Repeat("x", 1<<20), zstd.WithWindowSize(16<<20)), []string{"Content-Encoding", "zstd"}, 400, nil},
		{"no gzip at all", "a\nb", []string{"Content-Encoding", "gzip"}, 400, nil},
		{"half a gzip", gzipped("aaaaaaaaaaaa")[:20], []string{"Content-Encoding", "gzip"}, 400, nil},
		{"gzip with something behind it", gzipped("a") + "b", []string{"Content-Encoding", "gzip"}, 400, nil},
		{"half a zstd", zstandard("aaaaaaaaaaaa")[:9], []string{"Content-Encoding", "zstd"}, 400, nil},
		{"an unknown encoding", "a", []string{"Content-Encoding", "br"}, 415, nil},
		{"two encodings", "a", []string{"Content-Encoding", "gzip, gzip"}, 415, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &recorder{}
			d := opened(t, Config{MaxBody: limit}, 64<<20, log)
			for _, method := range []string{"POST", "PUT"} {
				log.records = nil
				status, _, text := d.ask(method, c.body, c.header...)
				if status != c.status || !slices.Equal(log.records, c.records) {
					t.Fatalf("%s: %d %s, %d records; want %d, %d records", method, status, text, len(log.records), c.status, len(c.records))
				}
				if want := fmt.Sprintf(`{"records":%d}`, len(c.records)); status == 200 && text != want {
					t.Errorf("%s, want %s", text, want)
				}
			}
		})
	}
}

func TestChunkedBodies(t *testing.T) {
	log := &recorder{}
	d := opened(t, Config{MaxBody: 100 << 10}, 1<<20, log)
	for size, want := range map[int]int{0: 200, 1: 200, 70 << 10: 200, 100 << 10: 200, 100<<10 + 1: 413} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", d.URL, io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = -1
		answer, err := d.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%d bytes: %d, want %d", size, answer.StatusCode, want)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		fail   error
		status int
		again  bool
	}{
		{buffer.ErrFull, 429, true},
		{fmt.Errorf("wrapped: %w", buffer.ErrFull), 429, true},
		{buffer.ErrTooLarge, 413, false},
		{buffer.ErrClosed, 503, true},
		{buffer.ErrPoisoned, 503, true},
		{errors.New("/secret/path: input/output error"), 500, true},
	} {
		d := opened(t, Config{MaxBody: 100}, 1<<20, &recorder{fail: c.fail})
		status, header, text := d.ask("POST", "a")
		if status != c.status || (header.Get("Retry-After") != "") != c.again {
			t.Errorf("%v: %d, Retry-After %q, want %d", c.fail, status, header.Get("Retry-After"), c.status)
		}
		if strings.Contains(text, "/secret") {
			t.Errorf("the answer %s tells about our files", text)
		}
	}
}

func TestTokens(t *testing.T) {
	log := &recorder{}
	d := opened(t, Config{MaxBody: 100, Token: config.NewSecret("s3cret")}, 1<<20, log)
	for header, want := range map[string]int{
		"Bearer s3cret": 200, "bearer  s3cret": 200,
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer s3cre": 401, "Bearer s3cret2": 401, "Basic s3cret": 401, "s3cret": 401,
	} {
		before := log.writes
		status, answer, _ := d.ask("POST", "a", "Authorization", header)
		if status != want || (log.writes > before) != (want == 200) {
			t.Errorf("%q: %d, want %d", header, status, want)
		}
		if asks := answer.Get("WWW-Authenticate"); (asks != "") != (want == 401) {
			t.Errorf("%q: WWW-Authenticate is %q", header, asks)
		}
	}
}

func TestOtherMethods(t *testing.T) {
	d := opened(t, Config{MaxBody: 100}, 1<<20, &recorder{})
	for _, method := range []string{"GET", "DELETE", "OPTIONS", "PATCH"} {
		status, header, _ := d.ask(method, "")
		if status != 405 || header.Get("Allow") != "POST, PUT" {
			t.Errorf("%s: %d, Allow %q", method, status, header.Get("Allow"))
		}
	}
}

func TestMemory(t *testing.T) {
	log := &recorder{}
	d := opened(t, Config{MaxBody: 1 << 20}, 256<<10, log)

	if status, _, text := d.ask("POST", strings.Repeat("x", 1<<20)); status != 200 {
		t.Errorf("a body larger than the memory, alone: %d %s", status, text)
	}
	if status, _, text := d.ask("POST", strings.Repeat("\n", 1<<20)); status != 413 {
		t.Errorf("more lines than the memory can index: %d %s", status, text)
	}
	d.memory.Give(-200 << 10) // somebody else has it
	if status, header, text := d.ask("POST", strings.Repeat("x", 100<<10)); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("the memory is lent: %d %s", status, text)
	}
	if status, _, text := d.ask("POST", "x"); status != 200 {
		t.Errorf("a small one beside it: %d %s", status, text)
	}
	d.memory.Give(200 << 10)
	if status, _, text := d.ask("POST", strings.Repeat("x", 100<<10)); status != 200 {
		t.Errorf("the memory is back: %d %s", status, text)
	}
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	log := &recorder{entered: make(chan struct{}), release: make(chan struct{})}
	d := opened(t, Config{MaxBody: 100}, 1<<20, log)
	answered := make(chan int, 1)
	go func() {
		status, _, _ := d.ask("POST", "a")
		answered <- status
	}()
	<-log.entered
	close(d.stop)
	for d.source.(*source).enter(t.Context()) != nil { // until the door has closed
		d.source.(*source).leave()
	}
	if status, header, _ := d.ask("POST", "b"); status != 503 || header.Get("Retry-After") == "" {
		t.Errorf("a closed door answers %d", status)
	}
	select {
	case err := <-d.ended:
		t.Fatalf("the door ended before its request: %v", err)
	default:
	}
	close(log.release)
	if status := <-answered; status != 200 {
		t.Errorf("the request under way got %d", status)
	}
	if err := <-d.ended; err != nil {
		t.Error(err)
	}
}

func TestADoorThatIsNotOpenYet(t *testing.T) {
	for name, want := range map[string]int{"opens in time": 200, "does not open": 503} {
		synctest.Test(t, func(t *testing.T) {
			d := handler(t, Config{MaxBody: 100}, hydrant.NewMemory(1<<20))
			stop := make(chan struct{})
			var wg sync.WaitGroup
			if want == 200 {
				wg.Go(func() {
					_ = d.deps.Clock.Wait(t.Context(), 900*time.Millisecond)
					_ = d.Run(t.Context(), stop, &recorder{})
				})
			}
			w := httptest.NewRecorder()
			d.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader("a")))
			if w.Code != want {
				t.Errorf("a door that %s: %d, want %d", name, w.Code, want)
			}
			close(stop)
			wg.Wait()
		})
	}
}

// handler is a door without a server.
func handler(t *testing.T, cfg Config, memory *hydrant.Memory) *source {
	var s *source
	_, err := open(cfg, ingest.Deps{
		Clock: hydrant.NewSystemClock(), Memory: memory, Log: slog.New(slog.DiscardHandler),
		HTTP: muxFunc(func(h http.Handler) { s, _ = h.(*source) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw sends bytes over a connection of its own and returns the first line of the answer.
func (d *door) raw(request string, finish func(net.Conn)) string {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.Listener.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	if finish != nil {
		finish(conn)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestABodyCutShortAddsNothing(t *testing.T) {
	log := &recorder{}
	d := opened(t, Config{MaxBody: 100}, 1<<20, log)
	half := func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }
	for _, request := range []string{
		"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\na\nb",
		"POST /logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\nb",
		"POST /logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\na\nb",
	} {
		if line := d.raw(request, half); line != "HTTP/1.1 400 Bad Request" {
			t.Errorf("%q for %q", line, request)
		}
	}
	d.shut()
	if log.writes != 0 {
		t.Errorf("%q were appended", log.records)
	}
}

func TestExpect(t *testing.T) {
	d := opened(t, Config{MaxBody: 100}, 1<<20, &recorder{})
	for length, want := range map[int]string{5: "HTTP/1.1 100 Continue", 500: "HTTP/1.1 413 Request Entity Too Large"} {
		request := fmt.Sprintf("POST /logs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", length)
		if line := d.raw(request, nil); line != want {
			t.Errorf("%d bytes: %q, want %q", length, line, want)
		}
	}
}

func TestHTTP2(t *testing.T) {
	log := &recorder{}
	d := opened(t, Config{MaxBody: 1 << 20, TLS: TLS{CertFile: "httptest has its own", KeyFile: "."}}, 8<<20, log)
	status, _, _ := d.ask("POST", strings.Repeat("x", 1<<20))
	if status != 200 || len(log.records) != 1 {
		t.Errorf("%d, %d records", status, len(log.records))
	}
	if !strings.HasPrefix(d.source.String(), "https ") {
		t.Errorf("it calls itself %s", d.source)
	}
}

// FuzzBody: whatever comes, the answer is a count and just so many records, or nothing was appended; and the memory is given back.
func FuzzBody(f *testing.F) {
	f.Add([]byte("a\nb"), "", false)
	f.Add([]byte(gzipped("a\nb")), "gzip", false)
	f.Add([]byte(zstandard("a\nb")), "zstd", true)
	f.Add([]byte(zstandard(strings.Repeat("\n", 5000))), "zstd", false)
	f.Add([]byte(gzipped(strings.Repeat("a", 5000))), "gzip", true)
	f.Fuzz(func(t *testing.T, body []byte, encoding string, whole bool) {
		log := &recorder{}
		memory := hydrant.NewMemory(4 << 20)
		s := handler(t, Config{MaxBody: 4096}, memory)
		s.admit(log)
		close(s.opened)
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Encoding", encoding)
		if whole {
			r.Header.Set("Content-Type", "application/octet-stream")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if memory.Used() != 0 {
			t.Fatalf("%d bytes of memory are still lent", memory.Used())
		}
		var bytes int
		for _, one := range log.records {
			bytes += len(one)
		}
		if bytes > 4096 || (w.Code != 200) != (w.Body.String()[2] == 'e') {
			t.Fatalf("%d %s with %d bytes", w.Code, w.Body, bytes)
		}
		if w.Code != 200 && log.writes > 0 {
			t.Fatalf("%d but %d records", w.Code, len(log.records))
		}
		if want := fmt.Sprintf("{\"records\":%d}\n", len(log.records)); w.Code == 200 && w.Body.String() != want {
			t.Fatalf("%s, want %s", w.Body, want)
		}
	})
}
