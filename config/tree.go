package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds a configuration file and maxDepth its nesting, so that no file can exhaust the parser's stack.
const (
	maxFile  = 1 << 20
	maxDepth = 64
)

type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	textNode
	mappingNode
	listNode
)

// node is the file as this package sees it: the small part of YAML that it takes.
type node struct {
	kind     nodeKind
	at       Place
	source   string          // a scalar as it is written, without quotes
	value    string          // the same after ${…}
	fromEnv  bool            // value holds something of the environment: any scalar type may be meant, and it is never printed
	bad      bool            // has a problem: nothing more is said of it
	entries  []entry         // of a mapping, in the order of the file
	keys     map[string]int  // of a mapping: where in entries
	items    []*node         // of a list
	unknown  bool            // a mapping with unknown keys
	misspelt map[string]bool // keys that unknown keys of this mapping were taken for
}

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	at    Place // of the key
	value *node // nil in the entry of something that is not in the file
}

// place is where a problem with the entry is shown: at a scalar, or at the key of a larger thing.
func (e entry) place() Place {
	if e.value != nil && (e.value.kind == boolNode || e.value.kind == numberNode || e.value.kind == textNode) {
		return e.value.at
	}
	return e.at
}

// scalar tells whether n is a single value, null not among them.
func (n *node) scalar() bool {
	return n.kind == boolNode || n.kind == numberNode || n.kind == textNode
}

// describe says what n is without giving away what came from the environment.
func (n *node) describe() string {
	switch n.kind {
	case nullNode:
		return "nothing"
	case mappingNode:
		return "a mapping"
	case listNode:
		return "a list"
	case boolNode, numberNode:
		return n.source
	}
	return quote(n.source)
}

// quote is text as problems show it: in quotes, on one line, not too long.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// parse makes the tree of a file. What the grammar refuses is reported alone: behind it nothing can be trusted.
func (d *decoder) parse(text []byte) *node {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !d.checkBytes(text) {
		return nil
	}
	source := strings.ReplaceAll(string(text), "\r\n", "\n")
	if !d.checkTokens(lexer.Tokenize(source)) {
		return nil
	}
	file, err := parseSafely(source)
	if err != nil {
		d.syntax(err, source)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return d.convert(doc.Body, doc.Body.GetToken())
		}
	}
	d.add(Problem{Place: Place{1, 1}, Found: "an empty file", Want: "write at least pipelines: with one source and one destination"})
	return nil
}

// checkBytes refuses what is no text.
func (d *decoder) checkBytes(text []byte) bool {
	if len(text) > maxFile {
		d.add(Problem{Found: "more than " + Size(maxFile).String(), Want: "a configuration file"})
		return false
	}
	line := 1
	for at := 0; at < len(text); {
		r, n := utf8.DecodeRune(text[at:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && n == 1:
			d.add(Problem{Place: Place{line, column(text, at)}, Found: "a byte that is not UTF-8", Want: "save the file as UTF-8"})
			return false
		case r == '\r' && (at+1 == len(text) || text[at+1] != '\n'), r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			d.add(Problem{Place: Place{line, column(text, at)}, Found: fmt.Sprintf("the control character %U", r), Want: `write it as an escape in double quotes, such as "\n"`})
			return false
		}
		at += n
	}
	return true
}

func column(text []byte, at int) int {
	return utf8.RuneCount(text[bytes.LastIndexByte(text[:at], '\n')+1:at]) + 1
}

// checkTokens refuses the parts of YAML that a configuration does without, each at its place, and deep nesting.
func (d *decoder) checkTokens(tokens token.Tokens) bool {
	before := len(d.problems)
	var last *token.Token
	depth, inLine, directive := 0, 0, 0
	content, ended := false, false // a document has begun; has ended
	for _, tk := range tokens {
		if last == nil || last.Position.Line != tk.Position.Line {
			inLine = 0
		}
		found, want := "", ""
		switch tk.Type {
		case token.AnchorType:
			found, want = "an anchor (&)", "write the value out at each place, or quote it if it is text"
		case token.AliasType:
			found, want = "an alias (*)", "write the value out, or quote it if it is text"
		case token.MergeKeyType:
			found, want = "a merge key (<<)", "write the keys out"
		case token.TagType:
			found, want = "a tag (!)", "write the value without it, or quote it if it is text"
		case token.DirectiveType:
			directive = tk.Position.Line
			found, want = "a directive (%)", "leave it out, or quote the value if it is text"
		case token.MappingKeyType:
			found, want = "a key written with ?", "write key: value"
		case token.DocumentHeaderType:
			if content {
				found, want = "a second document (---)", "one file holds one configuration"
			}
			content = true
		case token.DocumentEndType:
			ended = true
		case token.SequenceEntryType, token.MappingValueType:
			if depth == 0 {
				inLine++ // in { } and [ ] a line may hold many, and the brackets count
			}
		case token.SequenceStartType, token.MappingStartType:
			depth++
			if tk.Type == token.MappingStartType && last != nil && last.Type == token.StringType && strings.HasSuffix(last.Value, "$") {
				tk, found, want = last, "${…} without quotes inside { } or [ ]", `write "${…}" in double quotes`
			}
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if tk.Type != token.CommentType && tk.Type != token.DocumentEndType && tk.Position.Line != directive {
			if content = true; ended && found == "" {
				found, want = "text behind the document's end (...)", "one file holds one configuration"
				ended = false // said once
			}
		}
		if depth > maxDepth || inLine > maxDepth {
			d.add(Problem{Place: placeOf(tk), Found: fmt.Sprintf("more than %d levels of nesting", maxDepth), Want: "a flatter file"})
			return false
		}
		if found != "" {
			d.add(Problem{Place: placeOf(tk), Found: found, Want: want})
		}
		last = tk
	}
	return len(d.problems) == before
}

// parseSafely keeps a bug of the parser from ending the process: the file is what is wrong then, as far as we know.
func parseSafely(source string) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("not YAML")
		}
	}()
	return parser.ParseBytes([]byte(source), 0, parser.AllowDuplicateMapKey())
}

// syntax reports what the parser says, in words about the file. The parser's own words may quote it: they stay out.
func (d *decoder) syntax(err error, source string) {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &at) || at.GetToken() == nil {
		d.add(Problem{Place: Place{1, 1}, Found: "something that is not YAML", Want: "key: value lines"})
		return
	}
	place := placeOf(at.GetToken())
	lines := strings.Split(source, "\n")
	if place.Line <= len(lines) {
		indent := lines[place.Line-1][:len(lines[place.Line-1])-len(strings.TrimLeft(lines[place.Line-1], " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
			d.add(Problem{Place: Place{place.Line, tab + 1}, Found: "a tab in the indentation", Want: "indent with spaces"})
			return
		}
	}
	found, want := explain(at.GetMessage())
	d.add(Problem{Place: place, Found: found, Want: want})
}

// explain turns the parser's messages into what was found and what would be right.
func explain(message string) (found, want string) {
	for _, e := range []struct{ part, found, want string }{
		{"',' or '}'", "a { } that is not closed or lacks a comma", "write {key: value, key: value}"},
		{"end token '}'", "a { that is not closed", "write }"},
		{"',' or ']'", "a [ ] that is not closed or lacks a comma", "write [value, value]"},
		{"end token ']'", "a [ that is not closed", "write ]"},
		{"corresponding to ']'", "a ] without a [", "write [ before it, or quote the value if it is text"},
		{"corresponding to '}'", "a } without a {", "write { before it, or quote the value if it is text"},
		{"single-quoted", "a ' that is not closed", "write ' at the end of the value"},
		{"double-quoted", `a " that is not closed`, `write " at the end of the value`},
		{"escape", "an unknown escape in double quotes", "use single quotes, or write \\\\ for a backslash"},
		{"reserved character", "a value that starts with a reserved character", "put it in quotes"},
		{"mapping value is not allowed", "a second \": \" in a value, or a line indented too far", "put the value in quotes, or mend the indentation"},
		{"'\t'", "a tab", "use spaces"},
		{"block sequence", "a list (-) where no list can start", "start it in a new line below its key"},
		{"non-map value", "a value where a key must be", "write key: value"},
		{"unexpected key name", "a key without a colon", "write key: value"},
		{"invalid key", "a key that is not plain text", "write key: value"},
	} {
		if strings.Contains(message, e.part) {
			return e.found, e.want
		}
	}
	return "something that is not YAML", "look at the indentation, the colons and the quotes here and in the line before"
}

func placeOf(tk *token.Token) Place {
	if tk == nil || tk.Position == nil {
		return Place{1, 1}
	}
	return Place{max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
}

// convert makes a node of the parser's. start is the token that it begins with.
func (d *decoder) convert(n ast.Node, start *token.Token) *node {
	out := &node{at: placeOf(start)}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		out.kind, out.source = boolNode, n.Token.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.source = numberNode, n.GetToken().Value
	case *ast.StringNode:
		out.kind, out.source = textNode, n.Value
	case *ast.LiteralNode:
		out.kind, out.source = textNode, n.Value.Value
	case *ast.MappingNode:
		out.kind = mappingNode
		for _, v := range n.Values {
			d.convertEntry(out, v)
		}
	case *ast.MappingValueNode:
		out.kind = mappingNode
		d.convertEntry(out, n)
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			out.items = append(out.items, d.convert(v, firstToken(v)))
		}
	default:
		out.bad = true
		d.add(Problem{Place: out.at, Found: "a part of YAML that has no meaning here", Want: "write plain keys and values"})
	}
	if out.scalar() {
		d.substitute(out)
	}
	return out
}

// convertEntry adds one key and its value to a mapping.
func (d *decoder) convertEntry(into *node, v *ast.MappingValueNode) {
	tk := v.Key.GetToken()
	e := entry{key: tk.Value, at: placeOf(tk)}
	switch v.Key.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
	default:
		d.add(Problem{Place: e.at, Found: "a key that is not plain text", Want: "write key: value"})
		return
	}
	if i, twice := into.keys[e.key]; twice {
		d.add(Problem{Place: e.at, Found: fmt.Sprintf("%s a second time, first in line %d", quote(e.key), into.entries[i].at.Line), Want: "keep one of them"})
		return
	}
	e.value = d.convert(v.Value, v.Value.GetToken())
	into.set(e)
}

// set adds an entry to a mapping.
func (n *node) set(e entry) {
	if n.keys == nil {
		n.keys = map[string]int{}
	}
	n.keys[e.key] = len(n.entries)
	n.entries = append(n.entries, e)
}

// firstToken is where an item of a list begins: for a mapping its first key, where the parser says the colon.
func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}
