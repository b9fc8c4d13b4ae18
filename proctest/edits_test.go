package proctest

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What was Ready before a crash goes out once, under its old name with its old bytes, whatever configuration and
// binary have become since; what comes after it goes by the new ones (I8).
func TestReadyOutlivesConfigAndBinary(t *testing.T) {
	const s3 = `{bucket: logs, region: eu-west-1, endpoint: "URL", path_style: true, auth: {access_key_id: id, secret_access_key: secret}, prefix: "old/"}`
	for _, edit := range []struct {
		name     string
		from, to string // what is replaced in the configuration
		binary   func(testing.TB) string
		after    func(key string, body []byte) bool // tells an object made by the new settings
	}{
		{
			name: "another prefix", from: `prefix: "old/"`, to: `prefix: "new/"`,
			after: func(key string, _ []byte) bool { return strings.HasPrefix(key, "logs/new/") },
		},
		{
			name: "another bucket", from: `bucket: logs`, to: `bucket: moved`,
			after: func(key string, _ []byte) bool { return strings.HasPrefix(key, "moved/old/") },
		},
		{
			name: "another codec", from: `path_style: true`, to: `path_style: true, compression: zstd`,
			after: func(key string, _ []byte) bool { return path.Ext(key) == ".zst" },
		},
		{
			name: "no codec", from: `path_style: true`, to: `path_style: true, compression: none`,
			after: func(_ string, body []byte) bool { return strings.HasPrefix(string(body), "after") },
		},
		{
			name: "another delimiter", from: `path_style: true`, to: `path_style: true, compression: none, delimiter: "|\n"`,
			after: func(_ string, body []byte) bool { return strings.Contains(string(body), "|\n") },
		},
		{
			name: "another gzip level", from: `path_style: true`, to: `path_style: true, level: 1`,
			after: func(_ string, body []byte) bool { return body[8] == gzipFastest },
		},
		{
			name: "a binary with another gzip level", binary: otherLevel,
			after: func(_ string, body []byte) bool { return body[8] == gzipSmallest },
		},
	} {
		t.Run(edit.name, func(t *testing.T) {
			s := newStore(t)
			dir := t.TempDir()
			addr := freeAddr(t)
			yaml := strings.ReplaceAll(`
data_dir: data
pipelines:
  app:
    sources: [{http: {listen: "`+addr+`", path: /}}]
    batch: {interval: 100ms}
    destinations:
      - s3: `+s3+"\n", "URL", s.URL)
			config := writeConfig(t, dir, "%s", yaml)

			s.hold()
			d := start(t, launch{config: config}).ready()
			before := numbered("before", 2000)
			mustPost(t, "http://"+addr+"/", before)
			eventually(t, patience, "the batch is on its way", func() bool { return s.inFlight() > 0 })
			d.kill()
			ready := s.attempts()[0]
			s.release()

			writeConfig(t, dir, "%s", strings.Replace(yaml, edit.from, edit.to, 1))
			l := launch{config: config}
			if edit.binary != nil {
				l.bin = edit.binary(t)
			}
			d = start(t, l).ready()
			after := numbered("after", 2000)
			mustPost(t, "http://"+addr+"/", after)
			d.stop()

			var stored []put
			for _, p := range s.attempts() {
				if p.stored {
					stored = append(stored, p)
				}
			}
			if i := slices.IndexFunc(stored, func(p put) bool { return p.name == ready.name }); i < 0 || stored[i].sum != ready.sum {
				t.Errorf("%s was Ready with %d bytes; stored were %v", ready.name, ready.size, stored)
			}
			var got []string
			for name, body := range s.objects {
				for _, r := range lines(t, name, body) {
					got = append(got, strings.TrimSuffix(r, "|"))
				}
				if name != ready.name && !edit.after(name, body) {
					t.Errorf("%s was not made by the new settings", name)
				}
			}
			want(t, "the buckets", got, append(before, after...))
			if names := s.clobbered(); len(names) > 0 {
				t.Errorf("objects were replaced by others: %q", names)
			}
		})
	}
}

// What RFC 1952 has encoders say in the byte XFL.
const gzipFastest, gzipSmallest = 4, 2

// otherLevel is a binary of which the default level of gzip is 9.
func otherLevel(t testing.TB) string {
	t.Helper()
	const file = "../sinks/object/codec.go"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(source), "level = 6", "level = 9", 1)
	if changed == string(source) {
		t.Fatalf("%s does not set the default level of gzip any more", file)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replaced, overlay := filepath.Join(dir, "codec.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{replaced: changed, overlay: string(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := build("hydrant-level-9", "CGO_ENABLED=0", "-trimpath", "-overlay", overlay)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
