package file

import (
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
)

// parse reads a configuration with one file destination whose keys are given.
func parse(t *testing.T, keys string) (*config.Config, string) {
	t.Helper()
	kinds := config.Kinds{
		Sources: map[string]func() any{"stdin": func() any { return &struct{}{} }},
		Sinks:   map[string]func() any{"file": Kind.Config},
	}
	cfg, problems := config.Parse("/etc/hydrant.yaml", []byte("pipelines: {p: {sources: [stdin: {}], destinations: [file: {"+keys+"}]}}\n"),
		func(string) (string, bool) { return "", false }, kinds)
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	return cfg, strings.Join(said, "\n")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ keys, want string }{ // want "": nothing is said
		{`path: ./out`, ``},
		{`path: /var/out, prefix: "a/!{timestamp:yyyy}/", time_zone: UTC, compression: none, delimiter: ""`, ``},
		{``, `path: no folder, path: and the folder to write to`},
		{`path: out, prefix: "../x/"`, `prefix: a . or .. in a path, a prefix that stays inside the folder`},
		{`path: out, prefix: "a/./x"`, `a . or .. in a path`},
		{`path: out, prefix: "..a/x.."`, ``},
		{`path: out, prefix: "!{timestamp:yyyy/}` + strings.Repeat("x", 50) + `"`, `file names can become`},
		{`path: out, compression: brotli`, `compression: "brotli"`},
		{`path: out, endpoint: x`, `the unknown key "endpoint"`},
	} {
		if _, said := parse(t, c.keys); (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%.80s: %q, want %q", c.keys, said, c.want)
		}
	}
}

func TestTheSectionOpens(t *testing.T) {
	cfg, said := parse(t, "path: out")
	if said != "" {
		t.Fatal(said)
	}
	c := cfg.Pipelines[0].Destinations[0].Sink.Value.(*Config)
	if c.Path != "/etc/out" || c.Target() != "/etc/out" || c.Compression != "gzip" || c.Delimiter != "\n" || c.TimeZone != "UTC" {
		t.Errorf("%+v", *c)
	}
	if _, err := Kind.Open(c, deps(nil)); err != nil {
		t.Error(err)
	}
	c.Compression = "brotli"
	if _, err := Kind.Open(c, deps(nil)); err == nil {
		t.Error("a destination with an unknown compression opens")
	}
}
