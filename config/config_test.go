package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The stand-in kinds are shaped like the real ones.

type stdinSection struct {
	MaxLine Size `yaml:"max_line" doc:"Longest line."`
}

type tlsSection struct {
	CertFile Path `yaml:"cert_file" doc:"Certificate."`
	KeyFile  Path `yaml:"key_file" doc:"Key."`
}

type httpSection struct {
	Listen  string      `yaml:"listen" doc:"Address."`
	Path    string      `yaml:"path" doc:"Path."`
	Token   Secret      `yaml:"token" doc:"Bearer token."`
	MaxBody Size        `yaml:"max_body" doc:"Largest body."`
	TLS     *tlsSection `yaml:"tls"`
}

func (h *httpSection) Check(r *Report) {
	if !ValidListen(h.Listen) {
		r.Problem("listen", quote(h.Listen), "write HOST:PORT")
	} else if !Loopback(h.Listen) && h.Token.Empty() {
		r.Problem("listen", h.Listen+" without a token", "write a token")
	}
}

func (h *httpSection) Listener() (listen, path, certFile, keyFile string) {
	if h.TLS != nil {
		certFile, keyFile = string(h.TLS.CertFile), string(h.TLS.KeyFile)
	}
	return h.Listen, h.Path, certFile, keyFile
}

type layoutSection struct {
	Prefix      string `yaml:"prefix" doc:"Before each name."`
	TimeZone    string `yaml:"time_zone" doc:"Of the times in names."`
	Compression string `yaml:"compression" doc:"Codec."`
	Level       int    `yaml:"level" doc:"Of the codec."`
	Delimiter   string `yaml:"delimiter" doc:"After each record."`
}

func (l *layoutSection) Check(r *Report) {
	if strings.Contains(l.Prefix, "YYYY") {
		r.Warning("prefix", "YYYY, the week-year", "yyyy")
	}
	oneOf(r, "compression", l.Compression, "none", "gzip", "zstd")
}

type fileSection struct {
	Path          Path `yaml:"path" doc:"Folder."`
	layoutSection `yaml:",inline"`
}

func (f *fileSection) Check(r *Report) {
	if f.Path == "" {
		r.Problem("path", "nothing", "write the folder")
	}
	f.layoutSection.Check(r)
}

func (f *fileSection) Target() string { return string(f.Path) }

type s3Section struct {
	Bucket        string      `yaml:"bucket" doc:"Bucket."`
	Region        string      `yaml:"region" doc:"Region."`
	Endpoint      string      `yaml:"endpoint" doc:"Endpoint."`
	Auth          authSection `yaml:"auth"`
	layoutSection `yaml:",inline"`
	Encoding      bool              `yaml:"content_encoding" doc:"Declare the codec."`
	SSE           *sseSection       `yaml:"sse"`
	StorageClass  string            `yaml:"storage_class" doc:"Class."`
	ACL           string            `yaml:"acl" doc:"Canned ACL."`
	Tags          map[string]string `yaml:"tags" doc:"Tags."`
	Hosts         []string          `yaml:"hosts" doc:"Hosts."`
	Ratio         float64           `yaml:"ratio" doc:"Ratio."`
	Retries       uint8             `yaml:"retries" doc:"Retries."`
	PathStyle     *bool             `yaml:"path_style" doc:"Path style."`
}

type authSection struct {
	Profile         string `yaml:"profile" doc:"Profile."`
	AccessKeyID     string `yaml:"access_key_id" doc:"Key id."`
	SecretAccessKey Secret `yaml:"secret_access_key" doc:"Key."`
}

type sseSection struct {
	KMSKeyID string `yaml:"kms_key_id" doc:"KMS key."`
	AES256   bool   `yaml:"aes256" doc:"AES-256."`
}

func (s *s3Section) Check(r *Report) {
	if s.Bucket == "" {
		r.Problem("bucket", "nothing", "write the bucket's name")
	}
	if s.SSE != nil && s.SSE.AES256 && s.SSE.KMSKeyID != "" {
		r.Problem("sse.aes256", "true beside kms_key_id", "one of them")
	}
	s.layoutSection.Check(r)
}

func (s *s3Section) Target() string { return s.Endpoint + "/" + s.Bucket }

var layout = layoutSection{TimeZone: "UTC", Compression: "gzip", Level: 6, Delimiter: "\n"}

func standIns() Kinds {
	tags := map[string]string{"made": "by us"}
	return Kinds{
		Sources: map[string]func() any{
			"stdin": func() any { return &stdinSection{MaxLine: 1 << 20} },
			"http":  func() any { return &httpSection{Path: "/", MaxBody: 16 << 20} },
		},
		Sinks: map[string]func() any{
			"file": func() any { return &fileSection{layoutSection: layout} },
			"s3":   func() any { return &s3Section{layoutSection: layout, Tags: tags} },
		},
	}
}

// testEnv is the environment of the tests.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"SIZE": "8MiB", "TEN": "10", "EMPTY": "", "YES": "true", "N": "7", "TOKEN": "tok3n-from-env", "INJECT": "x}\n- evil: {", "ROOT": "/srv", "FILE": "file:/no/such/secret-place",
		"NOISE": "noise-from-env",
	}[name]
	return v, ok
}

var secretFiles = map[string]string{
	"/etc/hydrant/token": "from the file\n", "/run/secrets/crlf": "two\nlines\r\n", "/run/secrets/empty": "\n",
}

// testFiles reads the files of the tests and no others.
func testFiles(path string, limit int64) ([]byte, error) {
	switch path {
	case "/run/secrets/large":
		return nil, errTooLarge
	case "/run/secrets":
		return nil, errNoFile
	}
	text, ok := secretFiles[path]
	if !ok {
		return nil, &pathError
	}
	return []byte(text), nil
}

func parseTest(text string) (*Config, []Problem) {
	return parseWith("/etc/hydrant/hydrant.yaml", []byte(text), testEnv, standIns(), testFiles, false)
}

// theIssue is the configuration that the manual shows.
const theIssue = `# Relative paths are from this file's folder.
data_dir: /var/lib/hydrant          # default $STATE_DIRECTORY, else this
memory: 256MiB                      # batches in flight
log: {level: info, format: text}    # stderr; text | json
shutdown: {grace: 25s, drain: true} # drain
admin: {listen: 127.0.0.1:9640}     # /metrics
pipelines:
  app-logs:                         # the stream's name
    sources:
      - stdin: {}
      - http: {listen: 127.0.0.1:8080, path: /logs, token: "file:token", max_body: 16MiB}
        # one record a line
    buffer: {shards: 1, retention: 0s, max_bytes: 10GiB}
    batch: {size: 5MiB, interval: 60s}      # bytes
    retry: {give_up_after: never}           # a duration
    destinations:
      - name: archive                       # default: the kind
        s3:
          bucket: logs
          region: eu-west-1
          endpoint: http://127.0.0.1:7070   # S3-compatible
          auth: {profile: prod}             # or access_key_id
          prefix: "app/!{timestamp:yyyy/MM/dd/HH}/"   # arrival
          time_zone: UTC
          compression: gzip                 # default
          level: 6
          content_encoding: false
          delimiter: "\n"                   # after each record
          sse: {kms_key_id: alias/logs}     # or {aes256: true}
          storage_class: STANDARD
          acl: bucket-owner-full-control
          tags: {team: web}
        batch: {size: 64MiB, interval: 5m}  # overrides
        concurrency: 4                      # batches under way
      - file: {path: ./out, prefix: "", compression: gzip}
    error_output: {file: {path: ./errors}}  # or s3
`

func TestTheManualsFileIsRight(t *testing.T) {
	cfg, problems := parseTest(theIssue)
	if len(problems) > 0 {
		t.Fatalf("problems in a good file: %v", problems)
	}
	p := cfg.Pipelines[0]
	archive, file := p.Destinations[0], p.Destinations[1]
	s3, out, http := archive.Sink.Value.(*s3Section), file.Sink.Value.(*fileSection), p.Sources[1].Value.(*httpSection)
	same(t, "data_dir", cfg.DataDir, "/var/lib/hydrant")
	same(t, "memory", cfg.Memory, 256<<20)
	same(t, "log", cfg.Log, LogConfig{"info", "text"})
	same(t, "shutdown", cfg.Shutdown, Shutdown{25 * time.Second, true})
	same(t, "admin", cfg.Admin.Listen, "127.0.0.1:9640")
	same(t, "pipelines", len(cfg.Pipelines), 1)
	same(t, "pipeline", p.Name, "app-logs")
	same(t, "sources", p.Sources[0].Kind+" "+p.Sources[1].Kind, "stdin http")
	same(t, "place of a source", p.Sources[1].At, Place{11, 9})
	same(t, "token", http.Token.Value(), "from the file")
	same(t, "max_body", http.MaxBody, 16<<20)
	same(t, "buffer", p.Buffer, Buffer{1, 0, 10 << 30})
	same(t, "name", archive.Name, "archive")
	same(t, "default name", file.Name, "file")
	same(t, "own batch", archive.Batch, Batch{64 << 20, 5 * time.Minute})
	same(t, "the pipeline's batch", file.Batch, Batch{5 << 20, 60 * time.Second})
	same(t, "give_up_after", archive.GiveUpAfter, 0)
	same(t, "concurrency", file.Concurrency, 4)
	same(t, "prefix", s3.Prefix, "app/!{timestamp:yyyy/MM/dd/HH}/")
	same(t, "delimiter", s3.Delimiter, "\n")
	same(t, "sse", *s3.SSE, sseSection{KMSKeyID: "alias/logs"})
	same(t, "tags", fmt.Sprint(s3.Tags), "map[team:web]")
	same(t, "path_style", s3.PathStyle == nil, true)
	same(t, "profile", s3.Auth.Profile, "prod")
	same(t, "path", out.Path, "/etc/hydrant/out")
	same(t, "error output", archive.ErrorOutput.Value.(*fileSection).Path, "/etc/hydrant/errors")
	same(t, "error output is shared", archive.ErrorOutput.Value == file.ErrorOutput.Value, true)
}

// least is the shortest right file.
const least = "pipelines: {logs: {sources: [{stdin: {}}], destinations: [{file: {path: out}}]}}\n"

func TestDefaults(t *testing.T) {
	cfg, problems := parseTest(least)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p := cfg.Pipelines[0]
	same(t, "data_dir", cfg.DataDir, "/var/lib/hydrant")
	same(t, "memory", cfg.Memory, 0)
	same(t, "log", cfg.Log, LogConfig{"info", "text"})
	same(t, "shutdown", cfg.Shutdown, Shutdown{25 * time.Second, true})
	same(t, "admin", cfg.Admin.Listen, "")
	same(t, "buffer", p.Buffer, Buffer{1, 0, 10 << 30})
	same(t, "batch", p.Destinations[0].Batch, Batch{5 << 20, 60 * time.Second})
	errors := p.Destinations[0].ErrorOutput.Value.(*fileSection)
	same(t, "error output", errors.Path, "/var/lib/hydrant/errors/logs")
	same(t, "its compression", errors.Compression, "none")
	same(t, "its delimiter", errors.Delimiter, "\n")
}

func TestStateDirectoryIsTheDefaultDataDir(t *testing.T) {
	for value, want := range map[string]string{"/srv/a": "/srv/a", "/srv/a:/srv/b": "/srv/a", "": "/var/lib/hydrant"} {
		env := func(string) (string, bool) { return value, true }
		cfg, problems := parseWith("/etc/hydrant/hydrant.yaml", []byte(least), env, standIns(), testFiles, false)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		same(t, "data_dir for "+value, cfg.DataDir, want)
		same(t, "errors for "+value, string(cfg.Pipelines[0].Destinations[0].ErrorOutput.Value.(*fileSection).Path), filepath.Join(want, "errors/logs"))
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	kinds := standIns()
	text := strings.Replace(least, "file: {path: out}", "s3: {bucket: b, tags: {team: web}}", 1)
	if _, problems := parseWith("x.yaml", []byte(text), testEnv, kinds, testFiles, false); len(problems) > 0 {
		t.Fatal(problems)
	}
	same(t, "tags of the next section", fmt.Sprint(kinds.Sinks["s3"]().(*s3Section).Tags), "map[made:by us]")
}

func TestDestinationsOverrideFieldByField(t *testing.T) {
	cfg, problems := parseTest(`
pipelines:
  a:
    sources: [stdin: {}]
    batch: {size: 2MiB, interval: 30s}
    retry: {give_up_after: 1h}
    error_output: {file: {path: errors}}
    destinations:
      - {name: one, file: {path: one}, batch: {interval: 5s}}
      - {name: two, file: {path: two}, batch: {size: 4MiB}, retry: {give_up_after: never}, concurrency: 1}
      - {name: three, s3: {bucket: b}, error_output: {s3: {bucket: errors}}}
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	one, two, three := cfg.Pipelines[0].Destinations[0], cfg.Pipelines[0].Destinations[1], cfg.Pipelines[0].Destinations[2]
	same(t, "batch of one", one.Batch, Batch{2 << 20, 5 * time.Second})
	same(t, "batch of two", two.Batch, Batch{4 << 20, 30 * time.Second})
	same(t, "give_up_after of one", one.GiveUpAfter, time.Hour)
	same(t, "give_up_after of two", two.GiveUpAfter, 0)
	same(t, "concurrency of two", two.Concurrency, 1)
	same(t, "error_output of three", three.ErrorOutput.Value.(*s3Section).Bucket, "errors")
	same(t, "compression of an error output that is given", three.ErrorOutput.Value.(*s3Section).Compression, "gzip")
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

var pathError = fs.PathError{Op: "open", Path: "the whole path", Err: fs.ErrNotExist}

// hydrant status runs in a shell that has neither the daemon's environment nor its rights.
func TestInspectNeedsOnlyDataDir(t *testing.T) {
	pipeline := `
pipelines:
  app:
    sources: [stdin: {}]
    destinations:
      - api: {token: "${NOT_SET}", key: "file:/not/there", size: "${NOT_SET}"}
`
	kinds := standIns()
	kinds.Sinks["api"] = func() any {
		return &struct {
			Token Secret `yaml:"token"`
			Key   Secret `yaml:"key"`
			Size  Size   `yaml:"size"`
		}{}
	}
	inspect := func(text string, inspect bool) (*Config, []Problem) {
		return parseWith("/etc/hydrant/hydrant.yaml", []byte(text), testEnv, kinds, testFiles, inspect)
	}
	if cfg, problems := inspect("data_dir: /d"+pipeline, false); cfg != nil || len(problems) != 3 {
		t.Errorf("the daemon is told %v; want its 3 problems", problems)
	}
	if cfg, problems := inspect("data_dir: /d"+pipeline, true); cfg == nil || len(problems) != 0 || cfg.DataDir != "/d" || len(cfg.Pipelines) != 1 {
		t.Errorf("a tool is told %v; want no problem", problems)
	}
	if cfg, problems := inspect(`data_dir: "${NOT_SET}"`+pipeline, true); cfg != nil || len(problems) != 1 {
		t.Errorf("without a data_dir that is known a tool is told %v; want that one problem", problems)
	}
	if cfg, problems := inspect("data_dir: /d\nmemory: 256"+pipeline, true); cfg != nil || len(problems) != 1 {
		t.Errorf("a mistake of the file itself is told as %v; want that one problem", problems)
	}
}
