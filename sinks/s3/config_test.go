package s3

import (
	"strings"
	"testing"
	"time"

	"github.com/hydrantd/hydrant/config"
)

// parse reads a configuration with one S3 destination whose keys are given.
func parse(t *testing.T, keys string) (*config.Config, string) {
	t.Helper()
	kinds := config.Kinds{
		Sources: map[string]func() any{"stdin": func() any { return &struct{}{} }},
		Sinks:   map[string]func() any{"s3": Kind.Config, "file": func() any { return &struct{}{} }},
	}
	cfg, problems := config.Parse("/etc/hydrant.yaml", []byte("pipelines: {p: {sources: [stdin: {}], destinations: [s3: {"+keys+"}]}}\n"),
		func(string) (string, bool) { return "", false }, kinds)
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	return cfg, strings.Join(said, "\n")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ keys, want string }{ // want "": nothing is said
		{`bucket: logs`, ``},
		{`bucket: logs, region: eu-west-1, endpoint: "http://127.0.0.1:7070", auth: {profile: prod}, prefix: "app/!{timestamp:yyyy/MM/dd/HH}/",
		  time_zone: UTC, compression: gzip, level: 6, content_encoding: false, delimiter: "\n", sse: {kms_key_id: alias/logs},
		  storage_class: STANDARD, acl: bucket-owner-full-control, tags: {team: web}, timeout: 30s, ca_file: ca.pem, path_style: false,
		  checksums: when_supported`, ``},
		{`bucket: logs, auth: {access_key_id: A, secret_access_key: "s", session_token: "t", assume_role: {role_arn: "arn:aws:iam::1:role/x", external_id: e, session_name: n, duration: 1h}}`, ``},
		{`bucket: "arn:aws:s3:eu-west-1:123456789012:accesspoint/logs"`, ``},
		{`bucket: logs, prefix: "` + strings.Repeat("é", 461) + `"`, ``},
		{`bucket: logs, prefix: "` + strings.Repeat("é", 462) + `"`, `names can become longer than S3's 1024 bytes, at most`},
		{``, `bucket: no bucket`},
		{`bucket: "s3://logs/x"`, `what is behind it goes into prefix`},
		{`bucket: "a b"`, `which is no name of a bucket`},
		{`bucket: logs, region: "eu west"`, `region: "eu west"`},
		{`bucket: logs, endpoint: "127.0.0.1:7070"`, `endpoint: no URL of a store`},
		{`bucket: logs, endpoint: "ftp://x"`, `endpoint: no URL of a store`},
		{`bucket: logs, endpoint: "http://me:word@x"`, `endpoint: a user or password in the URL`},
		{`bucket: logs, endpoint: "http://x/?y"`, `endpoint: a URL with ? or #`},
		{`bucket: logs, checksums: never`, `checksums: "never", one of when_required, when_supported`},
		{`bucket: logs, timeout: 1ms`, `timeout: 1ms, at least 1s`},
		{`bucket: logs, auth: {access_key_id: A}`, `secret_access_key: a key id without its secret`},
		{`bucket: logs, auth: {secret_access_key: "s"}`, `access_key_id: a secret without its key id`},
		{`bucket: logs, auth: {profile: p, access_key_id: A, secret_access_key: "s"}`, `both a profile and keys`},
		{`bucket: logs, auth: {assume_role: {external_id: e}}`, `role_arn: no role`},
		{`bucket: logs, auth: {assume_role: {role_arn: x}}`, `role_arn: "x"`},
		{`bucket: logs, auth: {assume_role: {role_arn: "arn:aws:iam::1:role/x", duration: 1m}}`, `duration: 1m, 15m to 12h`},
		{`bucket: logs, sse: {kms_key_id: k, aes256: true}`, `sse: both kms_key_id and aes256`},
		{`bucket: logs, acl: everybody`, `acl: "everybody", one of private`},
		{`bucket: logs, storage_class: COLD`, `storage_class: "COLD", one of STANDARD`},
		{`bucket: logs, storage_class: COLD, endpoint: "http://x"`, ``},
		{`bucket: logs, tags: {a: "1", b: "1", c: "1", d: "1", e: "1", f: "1", g: "1", h: "1", i: "1", j: "1", k: "1"}`, `tags: 11 tags, at most 10`},
		{`bucket: logs, tags: {"aws:x": "1"}`, `the tag name "aws:x"`},
		{`bucket: logs, tags: {x: "a&b"}`, `x: "a&b"`},
		{`bucket: logs, compression: none, content_encoding: true`, `warning: content_encoding`},
		{`bucket: logs, prefix: "!{"`, `Invalid expression usage`},
		{`bukcet: logs`, `did you mean bucket?`},
	} {
		if _, said := parse(t, c.keys); (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%.100s: %q, want %q", c.keys, said, c.want)
		}
	}
}

func TestAnEndpointChangesTheDefaults(t *testing.T) {
	for _, c := range []struct {
		keys             string
		path, checksums  bool
		region, whereHas string
	}{
		{`bucket: logs, region: eu-west-1`, false, true, "eu-west-1", "eu-west-1"},
		{`bucket: logs, endpoint: "http://127.0.0.1:1"`, true, false, "us-east-1", "http://127.0.0.1:1"},
		{`bucket: logs, endpoint: "http://127.0.0.1:1", path_style: false, checksums: when_supported`, false, true, "us-east-1", "http"},
	} {
		cfg, said := parse(t, c.keys)
		if said != "" {
			t.Fatal(said)
		}
		conf := cfg.Pipelines[0].Destinations[0].Sink.Value.(*Config)
		if conf.pathStyle() != c.path || conf.checksums() != c.checksums {
			t.Errorf("%s: path style %t, checksums %t", c.keys, conf.pathStyle(), conf.checksums())
		}
		s, err := Kind.Open(conf, deps(nil))
		if err != nil {
			t.Fatal(err)
		}
		if o := s.(*store).client.Options(); o.Region != c.region || !strings.Contains(s.(*store).where, c.whereHas) {
			t.Errorf("%s: region %s, at %s", c.keys, o.Region, s.(*store).where)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheRegionMustBeKnown(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	c := Config{Bucket: "logs", Layout: Kind.Config().(*Config).Layout}
	if _, err := open(c, deps(nil)); err == nil || !strings.Contains(err.Error(), "destination archive: no region") {
		t.Errorf("%v", err)
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	s, err := open(c, deps(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.(*store).client.Options().Region; got != "eu-central-1" {
		t.Errorf("region %s", got)
	}
}

func TestABadCAFileDoesNotOpen(t *testing.T) {
	c := Config{Bucket: "logs", Region: "x", CAFile: config.Path(t.TempDir() + "/none"), Layout: Kind.Config().(*Config).Layout}
	if _, err := open(c, deps(nil)); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("%v", err)
	}
	c.CAFile = "config_test.go"
	if _, err := open(c, deps(nil)); err == nil || !strings.Contains(err.Error(), "no certificate in it") {
		t.Errorf("%v", err)
	}
}

func TestTimeoutsGrowWithTheBody(t *testing.T) {
	s := &store{patience: time.Minute}
	if got := s.timeout(0); got != time.Minute {
		t.Errorf("%v", got)
	}
	if got := s.timeout(64 << 20); got != 2*time.Minute+4*time.Second {
		t.Errorf("%v", got)
	}
}

func TestPartsStayBelowTheirLimit(t *testing.T) {
	for _, size := range []int64{multipartFrom, 5 << 30, 80 << 30, 100 << 30} {
		if n := (size + partSize(size) - 1) / partSize(size); n > 10000 || partSize(size) < 5<<20 {
			t.Errorf("%d bytes: %d parts of %d", size, n, partSize(size))
		}
	}
}

func FuzzNote(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("{}"))
	f.Add([]byte(`{"upload":"x","bucket":"b","key":"k","barred":true,"loose":true}`))
	f.Add([]byte(`{"upload":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := readNote(b)
		if err != nil {
			if n != (note{}) {
				t.Errorf("%q: %+v beside an error", b, n)
			}
			return
		}
		p := &parcel{}
		if err := save(p.shipment(), n); err != nil {
			t.Fatal(err)
		}
		if again, err := readNote(p.saved); err != nil || again != n {
			t.Errorf("%q: %+v, then %+v %v", b, n, again, err)
		}
	})
}
