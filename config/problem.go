package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Place is where something stands in the file, both from 1, columns in characters. The zero Place is the file as a whole.
type Place struct{ Line, Col int }

// Problem is one mistake in a file, or with Warning one thing that is allowed but probably not meant.
// It never holds the value of a Secret; of what came from the environment it shows the ${VAR} that stands in the file.
type Problem struct {
	File    string
	Place   Place
	Warning bool
	Found   string // what was found
	Want    string // what would be right

	outside bool // it lies not in the file but in what this process may know: a variable, a secret's file
}

// String is `file:line:col: what was found, what would be right`.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Place != (Place{}) {
		fmt.Fprintf(&b, ":%d:%d", p.Place.Line, p.Place.Col)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Found)
	if p.Want != "" {
		b.WriteString(", ")
		b.WriteString(p.Want)
	}
	return b.String()
}

// Failed tells whether there is a mistake among the problems; warnings are none.
func Failed(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// byPlace sorts problems as they stand in the file and drops repetitions.
func byPlace(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Col, b.Place.Col))
	})
	return slices.Compact(problems)
}

// Checker is implemented by sections with rules of their own: which values of a key are right, which keys go together.
// Check is called once on the pointer that the kind's function returned, after decoding.
type Checker interface{ Check(r *Report) }

// NameChecker is implemented by the sections of sinks whose rules depend on the names of pipeline and destination. After
// Check, CheckNames is called for each destination that the section serves, with errorOutput for one that is its error output.
type NameChecker interface {
	CheckNames(r *Report, pipeline, destination string, errorOutput bool)
}

// Report takes what a Check has to say of its section.
type Report struct {
	d  *decoder
	at entry // the section
}

// Problem reports a mistake in key, a dotted path inside the section such as "sse.aes256" (with "" for the section
// itself): what was found and what would be right. It is placed at the key's value, or where the key is missing. Nothing is
// reported of a key that could not be decoded: that has a problem already.
func (r *Report) Problem(key, found, want string) { r.report(false, key, found, want) }

// Warning reports something that is allowed but probably not meant. See Problem.
func (r *Report) Warning(key, found, want string) { r.report(true, key, found, want) }

// Given tells whether the file sets key.
func (r *Report) Given(key string) bool {
	_, found, _ := r.resolve(key)
	return found
}

func (r *Report) report(warning bool, key, found, want string) {
	at, _, bad := r.resolve(key)
	if bad {
		return
	}
	if n := at.value; n != nil && n.fromEnv {
		found = strings.ReplaceAll(found, strconv.Quote(n.value), quote(n.source))
		if len(n.value) > 3 { // shorter ones give nothing away and occur in any sentence
			found = strings.ReplaceAll(found, n.value, n.source)
		}
	}
	found = r.name(key) + ": " + found
	r.d.add(Problem{Place: at.place(), Warning: warning, Found: found, Want: want})
}

// name is how a problem calls key: its last part, or the section's own key.
func (r *Report) name(key string) string {
	if key == "" {
		return r.at.key
	}
	return key[strings.LastIndexByte(key, '.')+1:]
}

// resolve finds key: the entry, or the nearest above that is there. Bad says that it has a problem already.
func (r *Report) resolve(key string) (at entry, found, bad bool) {
	at = r.at
	if at.value == nil {
		return at, false, false
	}
	if key == "" {
		return at, true, at.value.bad
	}
	for part := range strings.SplitSeq(key, ".") {
		if at.value.bad {
			return at, false, true
		}
		below, ok := at.value.below(part)
		if !ok {
			return at, false, at.value.misspelt[part]
		}
		at = below
	}
	return at, true, at.value.bad
}

// below is the entry of a key in a mapping, or of an index in a list.
func (n *node) below(part string) (entry, bool) {
	if i, ok := n.keys[part]; ok {
		return n.entries[i], true
	}
	if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.items) {
		return entry{key: part, at: n.items[i].at, value: n.items[i]}, true
	}
	return entry{}, false
}
