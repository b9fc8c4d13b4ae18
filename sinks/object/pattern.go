package object

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// pattern is a compiled DateTimeFormatter pattern of Java, as `!{timestamp:…}` takes it: English, weeks as in the
// United States (they start on Sunday, and 1 January is in week 1), instants of whole seconds.
type pattern struct {
	pieces   []piece
	weekYear bool // has a Y, which is nearly always meant to be a y
}

// piece appends one part of a formatted time.
type piece func(dst []byte, t time.Time) []byte

func (p pattern) append(dst []byte, t time.Time) []byte {
	for _, f := range p.pieces {
		dst = f(dst, t)
	}
	return dst
}

// parsePattern compiles s. Its errors say what Java's would, shorter; weekYear is right also beside an error.
func parsePattern(s string) (p pattern, err error) {
	fail := func(e error) {
		if err == nil {
			err = e
		}
	}
	depth := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case isLetter(c):
			f, n, e := field(s[i:])
			n = max(n, 1)
			if e != nil {
				fail(e)
			}
			p.pieces = append(p.pieces, f)
			p.weekYear = p.weekYear || strings.ContainsRune(s[i:i+n], 'Y')
			i += n
		case c == '\'':
			text, n, e := quoted(s[i:])
			if e != nil {
				fail(e)
				n = len(s) - i
			}
			p.pieces = append(p.pieces, literal(text))
			i += n
		case c == '[' || c == ']': // sections that are left out when a field is missing: here none ever is
			if c == '[' {
				depth++
			} else if depth--; depth < 0 {
				fail(fmt.Errorf("] without a [ before it"))
			}
			i++
		case c == '{' || c == '}' || c == '#':
			fail(fmt.Errorf("%q is reserved: put it between single quotes", c))
			i++
		default:
			p.pieces = append(p.pieces, literal(s[i:i+1]))
			i++
		}
	}
	return p, err
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// run is how often the first byte of s is repeated at its start.
func run(s string) int {
	n := 1
	for n < len(s) && s[n] == s[0] {
		n++
	}
	return n
}

// quoted reads text between single quotes; two of them are one quote, inside as outside.
func quoted(s string) (text string, n int, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		if i == 1 {
			return "'", 2, nil
		}
		return b.String(), i + 1, nil
	}
	return "", 0, fmt.Errorf("a single quote is not closed")
}

// field reads one letter's run at the start of s, with the padding before it, if any.
func field(s string) (f piece, n int, err error) {
	if s[0] != 'p' {
		n = run(s)
		f, err = letters(s[0], n)
		return f, n, err
	}
	width := run(s)
	if width == len(s) || !isLetter(s[width]) {
		return nil, 0, fmt.Errorf("p must stand before the letter that it pads")
	}
	n = run(s[width:])
	f, err = letters(s[width], n)
	if err != nil {
		return nil, 0, err
	}
	return padded(f, width), width + n, nil
}

func literal(text string) piece {
	return func(dst []byte, _ time.Time) []byte { return append(dst, text...) }
}

func padded(f piece, width int) piece {
	return func(dst []byte, t time.Time) []byte {
		text := f(nil, t)
		for n := len(text); n < width; n++ {
			dst = append(dst, ' ')
		}
		return append(dst, text...)
	}
}

// number is a field printed with at least width digits.
func number(width int, value func(time.Time) int) piece {
	return func(dst []byte, t time.Time) []byte { return appendInt(dst, value(t), width) }
}

func appendInt(dst []byte, v, width int) []byte {
	text := strconv.Itoa(v)
	for n := len(text); n < width; n++ {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}

func text(value func(time.Time) string) piece {
	return func(dst []byte, t time.Time) []byte { return append(dst, value(t)...) }
}

// letters is the piece that n times the letter c stand for.
func letters(c byte, n int) (piece, error) {
	if limit := longest(c); n > limit {
		if limit == 0 {
			return nil, fmt.Errorf("%q is no pattern letter", c)
		}
		return nil, fmt.Errorf("%s: too many letters, at most %d", strings.Repeat(string(c), n), limit)
	}
	switch c {
	case 'M', 'L', 'E', 'e', 'c', 'Q', 'q', 'G', 'a', 'B':
		return textual(c, n)
	case 'z', 'v', 'V', 'O', 'X', 'x', 'Z':
		return zonal(c, n)
	case 'y', 'u', 'Y':
		year := time.Time.Year
		if c == 'Y' {
			year = func(t time.Time) int { y, _ := weekYear(t); return y }
		}
		if n == 2 {
			return number(2, func(t time.Time) int { return year(t) % 100 }), nil
		}
		return number(n, year), nil
	}
	return number(n, numbers[c]), nil
}

// longest is how often a letter may be repeated; 0 for what is no pattern letter.
func longest(c byte) int {
	switch c {
	case 'a', 'F', 'W':
		return 1
	case 'd', 'H', 'k', 'K', 'h', 'm', 's', 'w', 'V':
		return 2
	case 'D':
		return 3
	case 'z', 'v', 'O':
		return 4
	case 'M', 'L', 'E', 'e', 'c', 'Q', 'q', 'G', 'B', 'X', 'x', 'Z':
		return 5
	case 'S':
		return 9
	case 'y', 'u', 'Y', 'A', 'n', 'N', 'g':
		return 19
	}
	return 0
}

// numbers are the fields that are printed as numbers only.
var numbers = map[byte]func(time.Time) int{
	'D': time.Time.YearDay,
	'd': time.Time.Day,
	'H': time.Time.Hour,
	'k': func(t time.Time) int { return (t.Hour()+23)%24 + 1 },
	'K': func(t time.Time) int { return t.Hour() % 12 },
	'h': func(t time.Time) int { return (t.Hour()+11)%12 + 1 },
	'm': time.Time.Minute,
	's': time.Time.Second,
	'S': func(time.Time) int { return 0 },
	'n': func(time.Time) int { return 0 },
	'A': func(t time.Time) int { return secondOfDay(t) * 1e3 },
	'N': func(t time.Time) int { return secondOfDay(t) * 1e9 },
	'w': func(t time.Time) int { _, w := weekYear(t); return w },
	'W': func(t time.Time) int { return (t.Day()-1+int(t.AddDate(0, 0, 1-t.Day()).Weekday()))/7 + 1 },
	'F': func(t time.Time) int { return (t.Day()-1)/7 + 1 },
	'g': func(t time.Time) int { // modified Julian day
		return int(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix()/86400) + 40587
	},
}

func secondOfDay(t time.Time) int { return t.Hour()*3600 + t.Minute()*60 + t.Second() }

// weekYear is the year that the week of t is counted to, and the week's number in it.
func weekYear(t time.Time) (year, week int) {
	saturday := t.AddDate(0, 0, 6-int(t.Weekday()))
	if saturday.Year() > t.Year() {
		return saturday.Year(), 1
	}
	first := int(time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC).Weekday())
	return t.Year(), (t.YearDay()-1+first)/7 + 1
}
