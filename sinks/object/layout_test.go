package object

import (
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
)

// section is a destination that has nothing but a layout.
type section struct {
	Layout `yaml:",inline"`
}

// check parses a configuration with one destination whose keys are given, and returns what is said of it.
func check(t *testing.T, keys string) string {
	t.Helper()
	kinds := config.Kinds{
		Sources: map[string]func() any{"stdin": func() any { return &struct{}{} }},
		Sinks:   map[string]func() any{"objects": func() any { return &section{Defaults()} }},
	}
	_, problems := config.Parse("hydrant.yaml", []byte("pipelines: {p: {sources: [stdin: {}], destinations: [objects: {"+keys+"}]}}\n"),
		func(string) (string, bool) { return "", false }, kinds)
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	return strings.Join(said, "\n")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct{ keys, want string }{ // want "": nothing is said
		{``, ``},
		{`prefix: "app/!{timestamp:yyyy/MM/dd/HH}/", time_zone: Europe/Berlin, compression: zstd, level: 9, delimiter: ""`, ``},
		{`compression: none`, ``},
		{`prefix: "!{timestamp:YYYY/MM}/"`, `warning: prefix: Y is the week-based year, which differs from the calendar's around New Year, write yyyy`},
		{`prefix: "!{timestamp:'YYYY'}/"`, ``},
		{`prefix: "a/!{b}"`, `prefix: Invalid expression usage: a/!{b}. Must be of the form !{<namespace>:<value>}`},
		{`prefix: "!{timestamp:HHH}"`, `prefix: Invalid conversion character used in the value of the expression in Prefix`},
		{`time_zone: Berlin`, `time_zone: "Berlin" is no time zone that is known here, UTC or a name such as Europe/Berlin`},
		{`time_zone: Local`, `the zone Local differs between machines`},
		{`compression: snappy`, `compression: "snappy", none, gzip or zstd`},
		{`level: 10`, `level: 10, 1 to 9 for gzip`},
		{`level: -1`, `level: -1, 1 to 9 for gzip`},
		{`compression: zstd, level: 10`, `level: 10, 1 to 9 for zstd`},
		{`compression: none, level: 3`, `warning: level: there is no compression for it, leave it out`},
		{`prefix: "` + strings.Repeat("x", 512) + `"`, ``},
		{`prefix: "` + strings.Repeat("x", 513) + `"`, `Length of evaluated prefix cannot be greater than 512: it becomes 513`},
		{`prefix: "` + strings.Repeat("x", 505) + `!{timestamp:MMMM}"`, `it becomes 514`}, // September
		{`prefix: "` + strings.Repeat("é", 500) + `"`, `longer than S3's 1024 bytes`},
		{`prefix: "` + strings.Repeat("x", 1025) + `"`, `1025 characters, at most 1024`},
		{`prefix: "a\0b"`, `a zero byte`},
	} {
		if said := check(t, c.keys); (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%.80s: %q, want %q", c.keys, said, c.want)
		}
	}
}

func TestForErrors(t *testing.T) {
	for prefix, want := range map[string]bool{"": false, "x": false, "!{firehose:error-output-type}/": true, "!{": false} {
		if l := (Layout{Prefix: prefix}); l.ForErrors() != want {
			t.Errorf("%s: %t", prefix, !want)
		}
	}
}
