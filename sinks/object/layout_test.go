package object

import (
	"path"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
	"github.com/hydrantd/hydrant/sinks"
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

func TestWhatIsWrongBesideAWeekYearIsToldToo(t *testing.T) {
	const week = "warning: prefix: Y is the week-based year"
	for keys, want := range map[string]string{
		`prefix: "!{timestamp:YYYY}/!{foo:bar}"`:                      "is an invalid keyword!",
		`prefix: "!{foo:bar}/!{timestamp:YYYY}"`:                      "is an invalid keyword!",
		`prefix: "!{timestamp:YYYY}/!{bar}"`:                          "Invalid expression usage",
		`prefix: "!{timestamp:b/YYYY}"`:                               "'b' is no pattern letter",
		`prefix: "!{timestamp:]YYYY}"`:                                "without a [",
		`prefix: "!{timestamp:YYYY'open}"`:                            "not closed",
		`prefix: "!{timestamp:YYYY}!{firehose:error-output-type}"`:    "it is for error outputs",
		`prefix: "!{timestamp:YYYY}` + strings.Repeat("x", 510) + `"`: "cannot be greater than 512",
	} {
		if said := check(t, keys); !strings.Contains(said, week) || !strings.Contains(said, want) {
			t.Errorf("%.60s: %q, want %q and %q", keys, said, week, want)
		}
	}
	if said := check(t, `prefix: "!{timestamp:b'YYYY'}"`); strings.Contains(said, week) {
		t.Errorf("quoted text is no week year: %s", said)
	}
}

func TestMistakesInPrefixesSayWhatWouldBeRight(t *testing.T) {
	for keys, want := range map[string]string{
		`prefix: "!{foo:bar}"`: "prefix: Namespace to the left of colon (foo) is an invalid keyword! There is no such namespace, " +
			"write timestamp or firehose to the left of the colon",
		`prefix: "!{firehose:random}"`:             "in the value of the expression in Prefix: !{firehose:random}, random-string or error-output-type to the right of the colon",
		`prefix: "!{firehose:error-output-type}/"`: "prefix: !{firehose:error-output-type} in a destination, take it out: it is for error outputs",
	} {
		if said := check(t, keys); !strings.HasSuffix(said, want) {
			t.Errorf("%s: %q, want %q", keys, said, want)
		}
	}
}

// What the encoder appends is never more than what the check reckons with, and no less where the names are the longest.
func TestNamesAreAsLongAsTheCheckReckons(t *testing.T) {
	for _, c := range []struct{ prefix, compression, suffix string }{
		{"", "gzip", ""},
		{"!{timestamp:yyyy-MM-dd}-", "zstd", ""},
		{"!{timestamp:yyyy-MM-dd}-", "none", "-transform-failed"},
		{"a/!{timestamp:'x'}", "gzip", "-transform-failed"},
	} {
		l := Layout{Prefix: c.prefix, TimeZone: "UTC", Compression: c.compression, Delimiter: "\n"}
		f, err := New(l, zeros{}, false)
		if err != nil {
			t.Fatal(err)
		}
		e := &encoder{format: f, batch: sinks.Batch{Pipeline: "app", Destination: "archive", From: 1, Suffix: c.suffix}}
		name, err := e.name(2)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.LongestName("app", "archive", c.suffix != ""), len(path.Base(name)); got != want {
			t.Errorf("%q, %s%s: %d bytes, and the name %s has %d", c.prefix, c.compression, c.suffix, got, name, want)
		}
	}
}
