package proctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whatever an operator does with daemons and their folders, no object replaces another and every record arrives.
func TestDaemonsThatShareABucketNeverMeet(t *testing.T) {
	for _, mode := range []struct {
		name  string
		plain bool
	}{
		{"the store puts if absent", false},
		{"the store knows no If-None-Match", true},
	} {
		t.Run(mode.name, func(t *testing.T) {
			s := newStore(t)
			s.plain = mode.plain
			yaml := `
data_dir: data
pipelines:
  app:
    sources: [{stdin: {}}]
    destinations:
      - s3: {bucket: logs, region: eu-west-1, endpoint: "` + s.URL + `", path_style: true, auth: {access_key_id: id, secret_access_key: secret}, prefix: "app/"}
`
			node := func(name string) string {
				dir := filepath.Join(t.TempDir(), name)
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				return writeConfig(t, dir, "%s", yaml)
			}
			var sent []string
			once := func(config, name string) {
				records := numbered(name, 500)
				sent = append(sent, records...)
				code, out := run(t, strings.NewReader(body(records)), "run", "--once", "-c", config)
				if code != 0 {
					t.Fatalf("run --once: exit code %d\n%s", code, out)
				}
			}

			first, second := node("first"), node("second")
			once(first, "two daemons, one YAML: the first")
			once(second, "two daemons, one YAML: the second")
			if err := os.RemoveAll(filepath.Join(filepath.Dir(first), "data")); err != nil {
				t.Fatal(err)
			}
			once(first, "the data_dir of the first was wiped")

			// The second stops with records that are not delivered, and is cloned.
			s.hold()
			records := numbered("pending when it was cloned", 500)
			sent = append(sent, records...)
			d := start(t, launch{config: second, args: []string{"--once"}, stdin: strings.NewReader(body(records))})
			eventually(t, patience, "the records are on their way", func() bool { return s.inFlight() > 0 })
			d.kill()
			s.release()
			clone := node("clone")
			if out, err := exec.Command("cp", "-a", filepath.Join(filepath.Dir(second), "data"), filepath.Dir(clone)).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
			once(second, "the original, after it was cloned")
			once(clone, "the clone")
			once(second, "the original once more")
			once(clone, "the clone once more")

			if names := s.clobbered(); len(names) > 0 {
				t.Errorf("objects were replaced by others: %q", names)
			}
			want(t, "the bucket", all(parseAll(t, "app-s3", s.listing("logs"))), sent)
		})
	}
}

// A second daemon on one data_dir is refused, and harms nothing.
func TestADataDirHasOneDaemon(t *testing.T) {
	dir := t.TempDir()
	addr := freeAddr(t)
	config := writeConfig(t, dir, `
data_dir: data
pipelines:
  app:
    sources: [{http: {listen: %q, path: /}}]
    destinations: [{file: {path: out}}]
`, addr)
	d := start(t, launch{config: config}).ready()
	code, out := run(t, nil, "run", "-c", config)
	if code != 1 || !strings.Contains(out, "data") {
		t.Errorf("a second daemon: exit code %d, want 1 and the folder's name:\n%s", code, out)
	}
	records := numbered("r", 100)
	mustPost(t, "http://"+addr+"/", records)
	d.signal(syscall.SIGTERM)
	if code := d.wait(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	want(t, "the folder", all(parseAll(t, "app-file", folder(t, filepath.Join(dir, "out")))), records)
}

// A data_dir of a newer version is told from a damaged one, and left alone.
func TestADataDirOfANewerVersionIsLeftAlone(t *testing.T) {
	ds := newDeliveries(t)
	d := start(t, launch{config: ds.with(t, "{}", fileTo("a"))}).ready()
	mustPost(t, ds.url, numbered("r", 10))
	d.stop()
	version := filepath.Join(d.dataDir(), "VERSION")
	if err := os.WriteFile(version, []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := folder(t, filepath.Join(d.dataDir(), "streams"))
	code, out := run(t, nil, "run", "-c", d.config)
	if code != 1 || !strings.Contains(out, "newer") {
		t.Errorf("exit code %d, want 1 and that it is newer:\n%s", code, out)
	}
	after := folder(t, filepath.Join(d.dataDir(), "streams"))
	for name, body := range before {
		if string(after[name]) != string(body) {
			t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, want the %d that were there", len(after), len(before))
	}
}
