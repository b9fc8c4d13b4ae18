package object

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is an instant in a zone: "2018-08-27T10:30:00Z", "Asia/Tokyo".
func at(t testing.TB, text, place string) instant {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	where, err := time.LoadLocation(place)
	if err != nil {
		t.Fatal(err)
	}
	return instant{time: when.In(where), random: zeros{}}
}

func TestPrefixesBecome(t *testing.T) {
	for _, c := range []struct{ prefix, time, zone, want string }{
		{"", "2018-08-27T10:30:00Z", "UTC", "2018/08/27/10/"},
		{"legacy", "2018-08-27T10:30:00Z", "UTC", "legacy2018/08/27/10/"},
		{"p/!{timestamp:yyyy'-'MM'-'dd}/h=!{timestamp:HH}/", "2018-08-27T10:30:00Z", "UTC", "p/2018-08-27/h=10/"},
		{"", "2018-08-27T20:30:00Z", "Asia/Tokyo", "2018/08/28/05/"},
		{"!{timestamp:D}", "2018-02-03T00:00:00Z", "UTC", "34"},
		{"!{timestamp:DDD}", "2018-02-03T00:00:00Z", "UTC", "034"},
		{"a!b{c}/", "2018-08-27T10:30:00Z", "UTC", "a!b{c}/2018/08/27/10/"},
		{"r/!{firehose:random-string}/", "2018-08-27T10:30:00Z", "UTC", "r/00000000-00/2018/08/27/10/"},
		{"!{firehose:random-string}!{timestamp:yyyy}", "2018-08-27T10:30:00Z", "UTC", "00000000-002018"},
		{"e/!{firehose:error-output-type}/!{timestamp:yyyy}/", "2018-08-27T10:30:00Z", "UTC", "e//2018/"},
		{"é/!{timestamp:yyyy}", "2018-08-27T10:30:00Z", "UTC", "é/2018"},
	} {
		p, err := parsePrefix(c.prefix)
		if err != nil {
			t.Errorf("%s: %v", c.prefix, err)
			continue
		}
		if got, _, err := p.evaluate(at(t, c.time, c.zone)); got != c.want || err != nil {
			t.Errorf("%s: %q %v, want %q", c.prefix, got, err, c.want)
		}
	}
}

func TestRandomStringsAreNewForEachInstance(t *testing.T) {
	p, err := parsePrefix("!{firehose:random-string}/!{firehose:random-string}!{timestamp:''}")
	if err != nil {
		t.Fatal(err)
	}
	i := at(t, "2018-08-27T10:30:00Z", "UTC")
	i.random = bytes.NewReader([]byte("\x04\x6b\x6c\x7f\x0b\x12\x34\x56\x78\x9a"))
	if got, _, err := p.evaluate(i); got != "046b6c7f-0b/12345678-9a'" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if _, _, err := p.evaluate(i); err == nil {
		t.Error("randomness has run out, and nobody said so")
	}
}

func TestBadPrefixesAreRefusedInFirehosesWords(t *testing.T) {
	for prefix, want := range map[string]string{
		"!{":                              "Invalid expression usage",
		"a/!{timestamp}":                  "Must be of the form !{<namespace>:<value>}",
		"!{timestamp:}":                   "Invalid expression usage",
		"!{:yyyy}":                        "Invalid expression usage",
		"!{timestamp:yyyy":                "Invalid expression usage",
		"!{time:yyyy}":                    "Namespace to the left of colon (time) is an invalid keyword!",
		"!{Timestamp:yyyy}":               "invalid keyword",
		"!{firehose:random}":              "Invalid conversion character",
		"!{timestamp:yyyy-MM-ddTHH}":      "Invalid conversion character",
		"!{timestamp:b}":                  "'b' is no pattern letter",
		"!{timestamp:HHH}":                "at most 2",
		"!{timestamp:'open}":              "not closed",
		"!{timestamp:]}":                  "without a [",
		"!{timestamp:#}":                  "reserved",
		"!{timestamp:p}":                  "p must stand before",
		"!{timestamp:V}":                  "VV",
		"!{timestamp:cc}":                 "no such form",
		"!{timestamp:OO}":                 "no form of 2 letters",
		"!{timestamp:BB}":                 "no form of 2 letters",
		"!{timestamp:zzzz}":               "not known here",
		"!{partitionKeyFromQuery:tenant}": "dynamic partitioning",
		strings.Repeat("x", 1025):         "at most 1024",
		"\xff":                            "UTF-8",
	} {
		if _, err := parsePrefix(prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", prefix, err, want)
		}
	}
}

// The right column is what Java's DateTimeFormatter gives, in English, with weeks as in the United States.
func TestPatternsAreJavas(t *testing.T) {
	for _, c := range []struct{ pattern, time, zone, want string }{
		{"yyyy-MM-dd'T'HH:mm:ss", "2026-08-05T03:04:09Z", "UTC", "2026-08-05T03:04:09"},
		{"y yy yyy yyyyy u uu", "2026-08-05T03:04:09Z", "UTC", "2026 26 2026 02026 2026 26"},
		{"M MM MMM MMMM MMMMM L LL LLL LLLL", "2026-08-05T03:04:09Z", "UTC", "8 08 Aug August A 8 08 Aug August"},
		{"d dd D DD DDD", "2026-01-05T03:04:09Z", "UTC", "5 05 5 05 005"},
		{"E EE EEE EEEE EEEEE", "2026-08-05T03:04:09Z", "UTC", "Wed Wed Wed Wednesday W"},
		{"e ee eee eeee eeeee c ccc cccc", "2026-08-05T03:04:09Z", "UTC", "4 04 Wed Wednesday W 4 Wed Wednesday"},
		{"H HH k kk K KK h hh a", "2026-08-05T00:04:09Z", "UTC", "0 00 24 24 0 00 12 12 AM"},
		{"H k K h a", "2026-08-05T12:04:09Z", "UTC", "12 12 0 12 PM"},
		{"H k K h a", "2026-08-05T23:04:09Z", "UTC", "23 23 11 11 PM"},
		{"m mm s ss S SSS n A N", "2026-08-05T00:04:09Z", "UTC", "4 04 9 09 0 000 0 249000 249000000000"},
		{"Q QQ QQQ QQQQ QQQQQ q", "2026-08-05T03:04:09Z", "UTC", "3 03 Q3 3rd quarter 3 3"},
		{"G GGGG GGGGG", "2026-08-05T03:04:09Z", "UTC", "AD Anno Domini A"},
		{"Y w ww W F", "2026-12-28T00:00:00Z", "UTC", "2027 1 01 5 4"},
		{"YYYY w", "2024-12-28T00:00:00Z", "UTC", "2024 52"},
		{"YYYY w W", "2026-01-03T00:00:00Z", "UTC", "2026 1 1"},
		{"w W", "2026-01-04T00:00:00Z", "UTC", "2 2"},
		{"B", "2026-08-05T00:00:09Z", "UTC", "midnight"},
		{"B BBBB BBBBB", "2026-08-05T12:00:09Z", "UTC", "noon noon n"},
		{"B", "2026-08-05T06:00:00Z", "UTC", "in the morning"},
		{"B", "2026-08-05T13:00:00Z", "UTC", "in the afternoon"},
		{"B", "2026-08-05T18:00:00Z", "UTC", "in the evening"},
		{"B", "2026-08-05T21:00:00Z", "UTC", "at night"},
		{"g", "2026-08-05T00:00:00Z", "UTC", "61257"},
		{"VV z O OOOO", "2026-08-05T03:04:09Z", "UTC", "UTC UTC GMT GMT"},
		{"X XX XXX x xx xxx Z ZZZZ ZZZZZ", "2026-08-05T03:04:09Z", "UTC", "Z Z Z +00 +0000 +00:00 +0000 GMT Z"},
		{"VV z O OOOO", "2026-08-05T03:04:09Z", "Europe/Berlin", "Europe/Berlin CEST GMT+2 GMT+02:00"},
		{"X XX XXX XXXX XXXXX x Z ZZZZ ZZZZZ", "2026-08-05T03:04:09Z", "Asia/Kolkata", "+0530 +0530 +05:30 +0530 +05:30 +0530 +0530 GMT+05:30 +05:30"},
		{"O", "2026-08-05T03:04:09Z", "America/St_Johns", "GMT-2:30"},
		{"ppH|pppM|ppppyyyy", "2026-08-05T03:04:09Z", "UTC", " 3|  8|2026"},
		{"yyyy[-MM[-dd]]", "2026-08-05T03:04:09Z", "UTC", "2026-08-05"},
		{"'it''s' '' ''''", "2026-08-05T03:04:09Z", "UTC", "it's ' '"},
		{"'year='yyyy/'month='MM", "2026-08-05T03:04:09Z", "UTC", "year=2026/month=08"},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := string(p.append(nil, at(t, c.time, c.zone).time)); got != c.want {
			t.Errorf("%s: %q, want %q", c.pattern, got, c.want)
		}
	}
}

// The letters that Firehose refuses; it takes all others.
func TestEachLetterIsTakenOrRefusedAsByFirehose(t *testing.T) {
	const refused = "CIJPRTUVbfijloprt"
	const notHere = "v" // generic names of zones: refused with a reason of our own
	for c := byte('A'); c <= 'z'; c++ {
		if !isLetter(c) {
			continue
		}
		_, err := parsePattern(string(c))
		if want := strings.IndexByte(refused+notHere, c) < 0; (err == nil) != want {
			t.Errorf("%c: %v", c, err)
		}
	}
}

func FuzzPrefix(f *testing.F) {
	for _, s := range []string{
		"", "legacy", "p/!{timestamp:yyyy'-'MM'-'dd}/h=!{timestamp:HH}/", "!{firehose:random-string}", "!{", "!{timestamp:[[p}", "!{timestamp:ppppH'}'",
		"!{firehose:error-output-type}", "!{timestamp:YYYYwwWFGgBBBBVVzOOOOXXXXXxxxxxZZZZZ}",
	} {
		f.Add(s, int64(1535365800))
	}
	f.Fuzz(func(t *testing.T, s string, seconds int64) {
		p, err := parsePrefix(s)
		if err != nil {
			return
		}
		i := instant{time: time.Unix(seconds%(1<<37), 0).UTC(), kind: "x", random: zeros{}}
		first, counted, err := p.evaluate(i)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if second, _, _ := p.evaluate(i); second != first {
			t.Errorf("%q: %q, then %q", s, first, second)
		}
		if !strings.Contains(s, "!{") && !strings.HasPrefix(first, s) {
			t.Errorf("%q became %q", s, first)
		}
		if counted > len(first) {
			t.Errorf("%q: %d characters counted of %d bytes", s, counted, len(first))
		}
	})
}
