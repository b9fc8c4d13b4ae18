package sim

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask sends one request and says how it ended: the status and the error code, or the error.
func ask(ctx context.Context, t *testing.T, c Client, method, target, body string, header ...string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://store"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(b), "<Code>")
	code, _, _ = strings.Cut(code, "</Code>")
	return strings.TrimSpace(resp.Status[:3] + " " + code)
}

func TestStoreAnswers(t *testing.T) {
	type step struct{ method, target, body, header, want string }
	for _, row := range []struct {
		name  string
		setup func(s *Store)
		steps []step
		want  string // of b/k
	}{
		{"a put and a get", nil, []step{{"PUT", "/b/k", "1", "", "200"}, {"HEAD", "/b/k", "", "", "200"}, {"HEAD", "/b/other", "", "", "404"}}, "1"},
		{"a put if absent of what is there", nil, []step{{"PUT", "/b/k", "1", "If-None-Match", "200"}, {"PUT", "/b/k", "2", "If-None-Match", "412 PreconditionFailed"}}, "1"},
		{"a store that ignores it", func(s *Store) { s.Absent = Ignores }, []step{{"PUT", "/b/k", "1", "If-None-Match", "200"}, {"PUT", "/b/k", "1", "If-None-Match", "200"}}, "1"},
		{"a store that does not know it", func(s *Store) { s.Absent = Rejects }, []step{{"PUT", "/b/k", "1", "If-None-Match", "501 NotImplemented"}}, ""},
		{"no permission", func(s *Store) { s.Denied = "AccessDenied" }, []step{{"PUT", "/b/k", "1", "", "403 AccessDenied"}}, ""},
		{"no bucket", func(s *Store) { s.Denied = "NoSuchBucket" }, []step{{"PUT", "/b/k", "1", "", "404 NoSuchBucket"}}, ""},
		{"an error, and nothing done", func(s *Store) { s.Faults.Err5xx = 1_000_000 }, []step{{"PUT", "/b/k", "1", "", "503 SlowDown"}}, ""},
		{"an error, and done all the same", func(s *Store) { s.Faults.Late5xx = 1_000_000 }, []step{{"PUT", "/b/k", "1", "", "500 InternalError"}}, "1"},
		{"a refused connection", func(s *Store) { s.Faults.Refuse = 1_000_000 }, []step{{"PUT", "/b/k", "1", "", "connection refused"}}, ""},
		{"a wrong checksum", nil, []step{{"PUT", "/b/k", "1", "X-Amz-Checksum-CRC32C", "400 BadDigest"}}, ""},
		{"parts that are put together", nil, []step{
			{"POST", "/b/k?uploads", "", "", "200"},
			{"PUT", "/b/k?partNumber=1&uploadId=upload-1", "one", "", "200"},
			{"PUT", "/b/k?partNumber=2&uploadId=upload-1", "two", "", "200"},
			{"POST", "/b/k?uploadId=upload-1", completion("one", "two"), "", "200"},
			{"POST", "/b/k?uploadId=upload-1", completion("one", "two"), "", "404 NoSuchUpload"},
		}, "onetwo"},
		{"an upload that is aborted", nil, []step{
			{"POST", "/b/k?uploads", "", "", "200"},
			{"DELETE", "/b/k?uploadId=upload-1", "", "", "204"},
			{"PUT", "/b/k?partNumber=1&uploadId=upload-1", "one", "", "404 NoSuchUpload"},
			{"DELETE", "/b/k?uploadId=upload-1", "", "", "404 NoSuchUpload"},
		}, ""},
		{"a part that was never sent", nil, []step{
			{"POST", "/b/k?uploads", "", "", "200"},
			{"POST", "/b/k?uploadId=upload-1", completion("one"), "", "400 InvalidPart"},
		}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := New(1)
			s := w.NewStore()
			if row.setup != nil {
				row.setup(s)
			}
			if err := w.Run(func() {
				for _, st := range row.steps {
					var header []string
					if st.header != "" {
						header = []string{st.header, "*"}
					}
					if got := ask(context.Background(), t, s.Client(w.Root()), st.method, st.target, st.body, header...); got != st.want {
						t.Errorf("%s %s: got %s, want %s", st.method, st.target, got, st.want)
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			got := ""
			if o := s.Objects["b/k"]; o != nil {
				got = string(o.Data)
			}
			if got != row.want || len(s.Conflicts) > 0 {
				t.Errorf("b/k holds %q, want %q; conflicts %v", got, row.want, s.Conflicts)
			}
		})
	}
}

func completion(parts ...string) string {
	s := "<CompleteMultipartUpload>"
	for i, p := range parts {
		s += "<Part><PartNumber>" + string(rune('1'+i)) + "</PartNumber><ETag>" + etag([]byte(p)) + "</ETag></Part>"
	}
	return s + "</CompleteMultipartUpload>"
}

// TestADelayedRequest gives up waiting and sends again: the first one is carried out after the second.
func TestADelayedRequest(t *testing.T) {
	w := New(1)
	s := w.NewStore()
	if err := w.Run(func() {
		s.Faults.Delay = 1_000_000
		ctx, cancel := context.WithCancel(context.Background())
		w.At(time.Second, cancel)
		if got := ask(ctx, t, s.Client(w.Root()), "PUT", "/b/k", "1"); got != context.Canceled.Error() {
			t.Errorf("the first: got %s, want that it is canceled", got)
		}
		s.Faults = NetFaults{}
		if got := ask(context.Background(), t, s.Client(w.Root()), "PUT", "/b/k", "2"); got != "200" {
			t.Errorf("the second: got %s, want 200", got)
		}
		w.Root().Sleep(time.Hour)
	}); err != nil {
		t.Fatal(err)
	}
	if o := s.Objects["b/k"]; string(o.Data) != "1" || len(s.Conflicts) != 1 || o.Puts != 2 {
		t.Errorf("it holds %q after %d puts, conflicts %v", o.Data, o.Puts, s.Conflicts)
	}
}

// TestAHangEnds with the context, or with a reset.
func TestAHangEnds(t *testing.T) {
	w := New(1)
	s := w.NewStore()
	s.Faults.Hang, s.Timeout = 1_000_000, time.Minute
	if err := w.Run(func() {
		r, err := http.NewRequest("PUT", "http://store/b/k", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Client(w.Root()).Do(r); !errors.Is(err, errReset) || w.Now() < time.Minute {
			t.Errorf("got %v after %v", err, w.Now())
		}
	}); err != nil {
		t.Fatal(err)
	}
}
