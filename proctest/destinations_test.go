package proctest

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

const s3Access = `region: eu-west-1, path_style: true, auth: {access_key_id: id, secret_access_key: secret}`

// deliveries runs one pipeline, app, with an HTTP door and the destinations given.
type deliveries struct {
	dir, url, addr string
}

func newDeliveries(t testing.TB) *deliveries {
	addr := freeAddr(t)
	return &deliveries{dir: t.TempDir(), addr: addr, url: "http://" + addr + "/"}
}

// with writes the configuration with these destinations, one a line of flow YAML, and returns its name.
func (d *deliveries) with(t testing.TB, buffer string, destinations ...string) string {
	t.Helper()
	return writeConfig(t, d.dir, `
data_dir: data
pipelines:
  app:
    sources: [{http: {listen: %q, path: /}}]
    buffer: %s
    batch: {interval: 100ms}
    destinations:
      - %s
`, d.addr, buffer, strings.Join(destinations, "\n      - "))
}

// out are the records that a file destination named name has written to the folder of its name.
func (d *deliveries) out(t testing.TB, name string) []string {
	t.Helper()
	return all(parseAll(t, "app-"+name, folder(t, filepath.Join(d.dir, name))))
}

func fileTo(name string) string { return fmt.Sprintf("{name: %s, file: {path: %s}}", name, name) }

// Cursors belong to a pipeline and a name: neither their order nor what else is there changes anything.
func TestDestinationsComeGoAndChangePlaces(t *testing.T) {
	ds := newDeliveries(t)
	cycle := func(records []string, destinations ...string) *daemon {
		t.Helper()
		d := start(t, launch{config: ds.with(t, "{retention: 1h}", destinations...)}).ready()
		if len(records) > 0 {
			mustPost(t, ds.url, records)
		}
		d.stop()
		return d
	}
	r1, r2, r3, r4 := numbered("first", 300), numbered("second", 300), numbered("third", 300), numbered("fourth", 300)
	upTo := func(rs ...[]string) (sum []string) {
		for _, r := range rs {
			sum = append(sum, r...)
		}
		return sum
	}

	cycle(r1, fileTo("a"), fileTo("b"))
	want(t, "a", ds.out(t, "a"), r1)
	want(t, "b", ds.out(t, "b"), r1)

	cycle(r2, fileTo("b"), fileTo("a"))
	want(t, "a, reordered", ds.out(t, "a"), upTo(r1, r2))
	want(t, "b, reordered", ds.out(t, "b"), upTo(r1, r2))

	cycle(r3, fileTo("b"), fileTo("new"), fileTo("a"))
	want(t, "a destination that is new", ds.out(t, "new"), upTo(r1, r2, r3))

	d := cycle(r4, fileTo("new"), fileTo("a"))
	want(t, "b, which was removed", ds.out(t, "b"), upTo(r1, r2, r3))
	code, status := run(t, nil, "status", "-c", d.config)
	if code != 3 || !strings.Contains(status, "b") || !strings.Contains(status, "orphan") || !strings.Contains(status, "forget") {
		t.Errorf("status with the daemon down: exit code %d, want 3 and that app/b is an orphan to be forgotten:\n%s", code, status)
	}

	cycle(nil, fileTo("new"), fileTo("a"), fileTo("b"))
	want(t, "b, back again before it was forgotten", ds.out(t, "b"), upTo(r1, r2, r3, r4))

	cycle(nil, fileTo("new"), fileTo("a"))
	if code, out := run(t, nil, "buffer", "forget", filepath.Join(ds.dir, "data"), "app/b"); code != 0 {
		t.Fatalf("buffer forget: exit code %d\n%s", code, out)
	}
	if _, status := run(t, nil, "status", "-c", d.config); strings.Contains(status, "orphan") {
		t.Errorf("status still names an orphan after buffer forget:\n%s", status)
	}
	want(t, "a", ds.out(t, "a"), upTo(r1, r2, r3, r4))
}

// A destination that does not answer delays no other, nor the doors, until the cap is reached.
func TestADeadDestinationDelaysNoOther(t *testing.T) {
	for _, dead := range []struct {
		name string
		how  func(*store)
	}{
		{"that hangs", (*store).hold},
		{"that refuses connections", func(s *store) { s.CloseClientConnections(); s.Listener.Close() }},
		{"that answers 503", func(s *store) { s.answer(http.StatusServiceUnavailable) }},
	} {
		t.Run(dead.name, func(t *testing.T) {
			s := newStore(t)
			dead.how(s)
			ds := newDeliveries(t)
			d := start(t, launch{config: ds.with(t, "{}",
				fmt.Sprintf(`{name: dead, s3: {bucket: logs, endpoint: %q, %s}}`, s.URL, s3Access), fileTo("alive"))}).ready()
			var sent []string
			for i := range 20 {
				records := numbered(fmt.Sprint("round ", i), 200)
				mustPost(t, ds.url, records)
				sent = append(sent, records...)
			}
			eventually(t, patience, "the living destination has everything", func() bool {
				return bytes.Count(bytes.Join(bodies(t, filepath.Join(ds.dir, "alive")), nil), []byte("\n")) == len(sent)
			})
			want(t, "the living destination", ds.out(t, "alive"), sent)
			if got := len(s.listing("logs")); got != 0 {
				t.Errorf("the dead destination holds %d objects", got)
			}
			d.kill()
		})
	}
}

// bodies are the decompressed files below dir that have their final name.
func bodies(t testing.TB, dir string) [][]byte {
	t.Helper()
	var found [][]byte
	for name, body := range folder(t, dir) {
		if named.MatchString(filepath.Base(name)) {
			found = append(found, []byte(strings.Join(lines(t, name, body), "\n")+"\n"))
		}
	}
	return found
}
