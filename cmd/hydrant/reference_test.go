package main

import (
	"os"
	"strings"
	"testing"

	"github.com/hydrantd/hydrant/config"
)

// The README's configuration reference is what the code says. UPDATE=1 writes it anew.
func TestReferenceInTheREADME(t *testing.T) {
	for _, s := range config.Sections(builtin.config()) {
		for _, k := range s.Keys {
			if k.Doc == "" {
				t.Errorf("%s: %s has no doc tag", s.Title, k.Name)
			}
		}
	}
	const (
		file  = "../../README.md"
		begin = "writes it anew -->\n"
		end   = "<!-- end of reference -->"
	)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the reference: %q … %q", file, begin, end)
	}
	want := head + begin + "\n" + config.Reference(builtin.config()) + "\n" + end + tail
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Fatal("the README's reference is not what the code says: UPDATE=1 go test ./cmd/hydrant -run TestReference")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
