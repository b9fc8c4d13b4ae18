package hydrant_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests in this file hold the architecture: they read the source, build tags or not, and fail when a rule of
// ARCHITECTURE.md is broken anywhere in the module.

const module = "github.com/hydrantd/hydrant"

// mayImport is the drawing of ARCHITECTURE.md as a table: which packages of ours the product code of a package may
// import. "" is the root package. A package that is not here fails the test, so that the drawing stays whole.
var mayImport = map[string][]string{
	"":               {},
	"config":         {},
	"buffer":         {""},
	"transform":      {""},
	"sinks":          {""},
	"sinks/object":   {"", "config", "sinks"},
	"sinks/file":     {"", "config", "sinks", "sinks/object"},
	"sinks/s3":       {"", "config", "sinks", "sinks/object"},
	"ingest":         {"", "buffer"},
	"ingest/stdin":   {"", "buffer", "config", "ingest"},
	"ingest/http":    {"", "buffer", "config", "ingest"},
	"delivery":       {"", "buffer", "sinks", "transform"},
	"cmd/hydrant":    {"*"},
	"buffer/logtest": {"", "buffer"},
	"sinks/sinktest": {"", "sinks"},
	"sim":            {"*"},
	"faultproxy":     {},
	"proctest":       {"", "faultproxy"},
	"bench":          {"*"},
}

// testSupport are the packages that exist for tests alone. They may start goroutines and wait as they like.
var testSupport = []string{"buffer/logtest", "sinks/sinktest", "sim", "faultproxy", "proctest", "bench"}

// dataPath are the packages under I15: the simulation must be able to decide everything that happens in them.
var dataPath = []string{"buffer", "delivery", "sinks", "sinks/object", "sinks/file", "sinks/s3", "transform"}

// forbidden are the names that the data path may not use, by import path. "*" is the whole package.
var forbidden = map[string][]string{
	"time":         {"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"},
	"context":      {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc"},
	"crypto/rand":  {"*"},
	"math/rand":    {"*"},
	"math/rand/v2": {"*"},
	"os": {
		"Open", "OpenFile", "OpenInRoot", "Create", "CreateTemp", "MkdirTemp", "Rename", "Remove", "RemoveAll", "Mkdir", "MkdirAll",
		"ReadFile", "WriteFile", "ReadDir", "Stat", "Lstat", "Truncate", "Link", "Symlink", "Chmod", "Chtimes", "DirFS", "CopyFS",
	},
}

// source is one Go file of the module.
type source struct {
	name string // from the module's root, with slashes
	pkg  string // folder; "" is the root
	test bool
	file *ast.File
	text string
	fset *token.FileSet
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(n.Pos()).Line)
}

// imports maps the local names of the file's imports to their paths.
func (s source) imports() map[string]string {
	names := map[string]string{}
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := path[strings.LastIndexByte(path, '/')+1:]
		if name == "v2" {
			name = "rand" // math/rand/v2
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = path
	}
	return names
}

// sources parses every Go file of the module once.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "tools" || name == "out") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(name))
		if pkg == "." {
			pkg = ""
		}
		all = append(all, source{
			name: filepath.ToSlash(name), pkg: pkg, test: strings.HasSuffix(name, "_test.go"),
			file: file, text: string(text), fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// product are the files that are neither tests nor test support.
func product(all []source) []source {
	return slices.DeleteFunc(slices.Clone(all), func(s source) bool { return s.test || slices.Contains(testSupport, s.pkg) })
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		may, drawn := mayImport[s.pkg]
		if !drawn {
			t.Errorf("%s: package %q is not in mayImport: draw it into ARCHITECTURE.md and add it there", s.name, s.pkg)
			continue
		}
		for _, path := range s.imports() {
			rest, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			to := strings.TrimPrefix(rest, "/")
			if !slices.Contains(may, "*") && !slices.Contains(may, to) {
				t.Errorf("%s: imports %s; %q may import only %q", s.name, path, s.pkg, may)
			}
			if slices.Contains(testSupport, to) && !slices.Contains(testSupport, s.pkg) {
				t.Errorf("%s: imports %s, which is for tests only", s.name, path)
			}
		}
	}
}

func TestPackagesAreNamedForWhatTheyHold(t *testing.T) {
	for _, s := range sources(t) {
		switch name := strings.TrimSuffix(s.file.Name.Name, "_test"); name {
		case "util", "utils", "common", "helper", "helpers", "manager", "base", "misc", "lib", "shared":
			t.Errorf("%s: package %s says nothing of what it holds", s.name, name)
		}
	}
}

func TestGoroutinesStartInOnePlace(t *testing.T) {
	for _, s := range product(sources(t)) {
		if s.name == "cmd/hydrant/run.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: go statement; only cmd/hydrant/run.go starts goroutines (I15)", s.at(g))
			}
			return true
		})
	}
}

func TestTheDataPathWaitsAndTouchesTheWorldOnlyThroughItsInterfaces(t *testing.T) {
	for _, s := range product(sources(t)) {
		if !slices.Contains(dataPath, s.pkg) {
			continue
		}
		imports := s.imports()
		for _, path := range imports {
			if slices.Contains(forbidden[path], "*") {
				t.Errorf("%s: imports %s (I15)", s.name, path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectStmt:
				t.Errorf("%s: select; waiting is Clock.Wait's (I15)", s.at(n))
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					t.Errorf("%s: receives from a channel; waiting is Clock.Wait's (I15)", s.at(n))
				}
			case *ast.SendStmt:
				t.Errorf("%s: sends to a channel; waiting is Clock.Wait's (I15)", s.at(n))
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && slices.Contains(forbidden[imports[x.Name]], n.Sel.Name) {
					t.Errorf("%s: %s.%s (I15)", s.at(n), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init(); say it where it is wired instead", s.at(f))
			}
		}
	}
}

func TestFilesFunctionsAndInterfacesStaySmall(t *testing.T) {
	const maxFile, maxFunc, maxMethods = 600, 120, 5
	for _, s := range sources(t) {
		if n := strings.Count(s.text, "\n"); !s.test && n > maxFile {
			t.Errorf("%s: %d lines; at most %d", s.name, n, maxFile)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.InterfaceType:
				if len(n.Methods.List) > maxMethods {
					t.Errorf("%s: an interface of %d methods; at most %d", s.at(n), len(n.Methods.List), maxMethods)
				}
			case *ast.FuncDecl:
				lines := s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line
				if !s.test && lines > maxFunc {
					t.Errorf("%s: %s has %d lines; at most %d", s.at(n), n.Name.Name, lines, maxFunc)
				}
			}
			return true
		})
	}
}

func TestTestsNeitherSleepNorSkip(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && !slices.Contains(testSupport, s.pkg) {
			continue
		}
		imports := s.imports()
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := f.X.(*ast.Ident)
			switch {
			case x == nil:
			case slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, f.Sel.Name) && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name):
				t.Errorf("%s: skips; a test that cannot run must fail", s.at(call))
			case f.Sel.Name == "Sleep" && imports[x.Name] == "time":
				t.Errorf("%s: sleeps; wait for what is meant", s.at(call))
			}
			return true
		})
	}
}

// points reads the constants of points.go: Go name → name on the list.
func points(t *testing.T, all []source) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, s := range all {
		if s.name != "points.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				lit, ok := v.Values[0].(*ast.BasicLit)
				if !ok {
					t.Fatalf("%s: not a string", s.at(v))
				}
				found[v.Names[0].Name], _ = strconv.Unquote(lit.Value)
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatal("points.go: no constant found")
	}
	return found
}

func TestEveryPointIsListedAndUsed(t *testing.T) {
	all := sources(t)
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	_, section, _ := strings.Cut(string(text), "\n## Durability points\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.Contains(cells[1], "`") {
			listed[strings.Trim(cells[1], " `")] = true
			if !strings.Contains(cells[3], "I") {
				t.Errorf("ARCHITECTURE.md: point %s protects no invariant", cells[1])
			}
		}
	}
	used := map[string]bool{}
	for _, s := range product(all) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && s.name != "points.go" {
				used[id.Name] = true
			}
			return true
		})
	}
	known := points(t, all)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !listed[known[name]] {
			t.Errorf("points.go: %s (%q) is not in ARCHITECTURE.md's table of durability points", name, known[name])
		}
		if !used[name] {
			t.Errorf("points.go: %s is used nowhere: nothing is protected by it", name)
		}
		delete(listed, known[name])
	}
	for name := range listed {
		t.Errorf("ARCHITECTURE.md: %q is in the table of durability points but not in points.go", name)
	}
}
