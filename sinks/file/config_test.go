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
		{`path: out, prefix: "!{timestamp:yyyy-MM-dd}-"`, ``},
		{`path: out, prefix: "!{timestamp:yyyy/}` + strings.Repeat("x", 166) + `"`, ``},
		{`path: out, prefix: "!{timestamp:yyyy/}` + strings.Repeat("x", 169) + `"`, `prefix: file names can become 258 bytes long, at most 255, so at most 3 fewer`},
		{`path: out, compression: brotli`, `compression: "brotli"`},
		{`path: out, endpoint: x`, `the unknown key "endpoint"`},
	} {
		if _, said := parse(t, c.keys); (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%.80s: %q, want %q", c.keys, said, c.want)
		}
	}
}

func TestNamesCountIntoTheLengthOfFileNames(t *testing.T) {
	kinds := config.Kinds{
		Sources: map[string]func() any{"stdin": func() any { return &struct{}{} }},
		Sinks:   map[string]func() any{"file": Kind.Config},
	}
	names := strings.NewReplacer("LONG", strings.Repeat("n", 64), "X40", strings.Repeat("x", 40), "X25", strings.Repeat("x", 25))
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"long names and a short prefix": {
			`LONG: {sources: [stdin: {}], destinations: [{name: LONG, file: {path: out, prefix: "!{timestamp:yyyy-MM-dd}-"}}]}`, nil},
		"long names and a long prefix": {
			`LONG: {sources: [stdin: {}], destinations: [{name: LONG, file: {path: out, prefix: "!{timestamp:yyyy}X40"}}]}`,
			[]string{"file names can become"}},
		"names too long are told alone": {
			`LONGn: {sources: [stdin: {}], destinations: [file: {path: out, prefix: "!{timestamp:yyyy}X40X40X40"}]}`,
			[]string{"pipeline name"}},
		"the suffix of error records": {
			`LONG: {sources: [stdin: {}], destinations: [{name: LONG, file: {path: out}, error_output: {file: {path: e, prefix: "!{timestamp:yyyy}X25"}}}]}`,
			[]string{"file names can become"}},
		"no such suffix in the records": {
			`LONG: {sources: [stdin: {}], destinations: [{name: LONG, file: {path: out, prefix: "!{timestamp:yyyy}X25"}}]}`, nil},
		"the pipeline's error output, for the long name of two": {
			`LONG: {sources: [stdin: {}], error_output: {file: {path: e, prefix: "!{timestamp:yyyy}X25"}},
				destinations: [{name: LONG, file: {path: out}}, {name: b, file: {path: out}}]}`,
			[]string{"file names can become"}},
		"the kind of an error in an error output": {
			`p: {sources: [stdin: {}], error_output: {file: {path: e, prefix: "!{firehose:error-output-type}/"}}, destinations: [file: {path: out}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := config.Parse("/etc/hydrant.yaml", []byte(names.Replace("pipelines: {"+c.text+"}\n")), func(string) (string, bool) { return "", false }, kinds)
			if len(problems) != len(c.want) {
				t.Fatalf("%v, want %d problems", problems, len(c.want))
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), c.want[i]) {
					t.Errorf("%q, want %q", p, c.want[i])
				}
			}
		})
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
