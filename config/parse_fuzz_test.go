package config

import (
	"slices"
	"strings"
	"testing"
)

// FuzzParse holds that no text brings the loader down, that every problem is placed in the file, and that nothing that
// came from the environment or from a secret's file is ever in a problem.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", theIssue, least, "a: [", "a: &x 1\nb: *x", "? a", "---\n...\n---", "\xef\xbb\xbf" + least, "log:\r\n  level: x\r\n", "{a: ${B}}", "a: ${",
		"{", "[[[[", "- - - -", "a:\n\tb", "'", "\"", "|", ">-\n x", "%", "!", "!!map", "<<: 1",
		source("http: {listen: 0.0.0.0:1, token: '${TOKEN}', max_body: '${TOKEN}'}"), source("http: {listen: '${TOKEN}', path: '${TOKEN}', token: ['${TOKEN}']}"),
		destination("{name: '${TOKEN}', file: {path: '${TOKEN}', level: '${TOKEN}', compression: '${TOKEN}'}}"), "log: {level: '${TOKEN}'}", "admin: {listen: '${TOKEN}'}",
	} {
		f.Add(s)
	}
	files := func(string, int64) ([]byte, error) { return []byte("tok3n-of-a-file"), nil }
	env := func(string) (string, bool) { return "tok3n-from-env", true }
	f.Fuzz(func(t *testing.T, text string) {
		cfg, problems := parseWith("/etc/hydrant.yaml", []byte(text), env, standIns(), files, false)
		if (cfg == nil) != Failed(problems) {
			t.Fatalf("a configuration: %v, problems %v", cfg != nil, problems)
		}
		if !slices.Equal(problems, byPlace(slices.Clone(problems))) {
			t.Errorf("not sorted: %v", problems)
		}
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Place.Line < 1 || p.Place.Line > lines || p.Place.Col < 1 || p.Found == "" || p.Want == "" || p.File != "/etc/hydrant.yaml" {
				t.Errorf("%+v in a file of %d lines", p, lines)
			}
			if strings.Contains(p.String(), "tok3n-") && !strings.Contains(text, "tok3n-") {
				t.Errorf("a secret in %q", p)
			}
		}
	})
}
