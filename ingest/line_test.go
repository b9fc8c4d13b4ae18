package ingest

import (
	"bytes"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cut takes all lines off data, pieces marked with a trailing "+".
func cut(data string, limit int, end bool) (lines []string, rest string) {
	left := []byte(data)
	for {
		line, partial, n := Line(left, limit, end)
		if n == 0 {
			return lines, string(left)
		}
		mark := ""
		if partial {
			mark = "+"
		}
		lines = append(lines, string(line)+mark)
		left = left[n:]
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		name  string
		data  string
		limit int
		end   bool
		want  []string
		rest  string
	}{
		{"nothing", "", 4, true, nil, ""},
		{"a line and the start of one", "ab\nc", 4, false, []string{"ab"}, "c"},
		{"the unterminated line at the end is a line", "ab\nc", 4, true, []string{"ab", "c"}, ""},
		{"a newline at the end adds nothing", "ab\n", 4, true, []string{"ab"}, ""},
		{"empty lines are records", "\n\n", 4, true, []string{"", ""}, ""},
		{"carriage returns are data", "a\r\n\r\n", 4, true, []string{"a\r", "\r"}, ""},
		{"a line of exactly the limit is whole", "abcd\n", 4, false, []string{"abcd"}, ""},
		{"and may still become one", "abcd", 4, false, nil, "abcd"},
		{"or end there", "abcd", 4, true, []string{"abcd"}, ""},
		{"a longer one comes in pieces", "abcdefghi\nj\n", 4, false, []string{"abcd+", "efgh+", "i", "j"}, ""},
		{"a multiple of the limit has a whole last piece", "abcdefgh\n", 4, false, []string{"abcd+", "efgh"}, ""},
		{"zero bytes and broken UTF-8 are data", "a\x00\xff\n", 4, false, []string{"a\x00\xff"}, ""},
	} {
		lines, rest := cut(c.data, c.limit, c.end)
		if !slices.Equal(lines, c.want) || rest != c.rest {
			t.Errorf("%s: %q, rest %q; want %q, rest %q", c.name, lines, rest, c.want, c.rest)
		}
	}
}

// FuzzLine: pieces put together again, with a newline behind each whole line, are the input; however it arrives.
func FuzzLine(f *testing.F) {
	f.Add([]byte("ab\ncdefghij\n\nk"), uint8(4), uint8(3))
	f.Add([]byte("\n"), uint8(1), uint8(1))
	f.Add([]byte("abcdabcd\nabcd"), uint8(4), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, limit, step uint8) {
		max := int(limit) + 1
		var again, left []byte
		partial := false
		take := func(end bool) {
			for {
				line, part, n := Line(left, max, end)
				if n == 0 {
					return
				}
				if len(line) > max {
					t.Fatalf("a line of %d bytes, limit %d", len(line), max)
				}
				if part && len(line) != max {
					t.Fatalf("a piece of %d bytes, want %d", len(line), max)
				}
				again = append(again, line...)
				if partial = part; !part {
					again = append(again, '\n')
				}
				left = left[n:]
			}
		}
		for at := 0; at < len(data); at += int(step) + 1 {
			left = append(left, data[at:min(len(data), at+int(step)+1)]...)
			take(false)
		}
		take(true)
		want := data
		if len(data) > 0 && data[len(data)-1] != '\n' {
			want = append(slices.Clone(data), '\n')
		}
		if partial || len(left) > 0 || !bytes.Equal(again, want) {
			t.Fatalf("%q became %q, left %q, partial %v", data, again, left, partial)
		}
	})
}
