package config

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written with a unit: 5MiB, 64kB.
type Size int64

type unit struct {
	name string
	size uint64
}

// Largest first; within a size class the binary one.
var sizeUnits = []unit{
	{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1},
}

var timeUnits = []unit{
	{"d", uint64(24 * time.Hour)}, {"h", uint64(time.Hour)}, {"m", uint64(time.Minute)}, {"s", uint64(time.Second)}, {"ms", uint64(time.Millisecond)},
}

// String is the size in the largest unit that takes no fraction, as it can be written in the file.
func (s Size) String() string {
	if s > 0 {
		for _, u := range sizeUnits {
			if uint64(s)%u.size == 0 {
				return strconv.FormatUint(uint64(s)/u.size, 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// FormatDuration is d as it can be written in the file: 1h30m, 25s, 0s. What is below a millisecond is left out.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
	}
	rest := uint64(d.Abs())
	for _, u := range timeUnits {
		if n := rest / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
		}
		rest %= u.size
	}
	if b.Len() == 0 || b.String() == "-" {
		return "0s"
	}
	return b.String()
}

// UnitError says what is wrong with a size or a duration and what would be right.
type UnitError struct{ Found, Want string }

func (e *UnitError) Error() string { return e.Found + ", " + e.Want }

// ParseSize reads a size: a number and a unit, kB MB GB TB (powers of 1000) or B KiB MiB GiB TiB (powers of 1024).
// An error is a *UnitError.
func ParseSize(s string) (Size, error) {
	if err := plainMistake(s, "size", "10GiB or 10MiB", "GiB", "MiB"); err != nil {
		return 0, err
	}
	n, rest, ok := number(s)
	if !ok {
		return 0, &UnitError{quote(s) + ", which is no size", "write it as 10GiB or 10MiB"}
	}
	for _, u := range sizeUnits {
		if u.name == rest {
			bytes, ok := n.times(u.size)
			if !ok {
				return 0, &UnitError{quote(s) + ", which is more than a size can be", "at most 8EiB, so less than 8388608TiB"}
			}
			return Size(bytes), nil
		}
	}
	digits := s[:len(s)-len(rest)]
	for _, u := range sizeUnits { // kb, Mb, K, gib, " MiB": nearly right
		letter := strings.ToLower(u.name[:1])
		if near := strings.ToLower(strings.TrimSpace(rest)); u.name != "B" && !strings.HasSuffix(u.name, "iB") &&
			(near == letter || near == letter+"b" || near == letter+"ib" || near == letter+"i") {
			binary := strings.ToUpper(letter) + "iB"
			return 0, &UnitError{"the unknown unit " + quote(rest), fmt.Sprintf("write %s%s (powers of 1024) or %s%s (powers of 1000)", digits, binary, digits, u.name)}
		}
	}
	return 0, &UnitError{"the unknown unit " + quote(rest), "write kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)"}
}

// ParseDuration reads a duration: numbers with the units d h m s ms, the larger first, as in 1h30m. An error is a *UnitError.
func ParseDuration(s string) (time.Duration, error) {
	if err := plainMistake(s, "duration", "60s or 5m", "s", "m"); err != nil {
		return 0, err
	}
	var total uint64
	for rest, from := s, 0; rest != ""; {
		n, after, ok := number(rest)
		if !ok {
			return 0, &UnitError{quote(s) + ", which is no duration", "write it as 60s, 5m or 1h30m"}
		}
		name := after
		if end := strings.IndexAny(after, "0123456789"); end >= 0 {
			name = after[:end]
		}
		i := from
		for i < len(timeUnits) && timeUnits[i].name != name {
			i++
		}
		if i == len(timeUnits) {
			for _, u := range timeUnits[:from] {
				if u.name == name {
					return 0, &UnitError{quote(s) + ", with its units out of order", "the larger first and each once, as in 1h30m"}
				}
			}
			return 0, &UnitError{"the unknown unit " + quote(name), "write ms, s, m, h or d, as in 60s"}
		}
		part, ok := n.times(timeUnits[i].size)
		if total += part; !ok || total > math.MaxInt64 {
			return 0, &UnitError{quote(s) + ", which is more than a duration can be", "at most 106751d"}
		}
		rest, from = after[len(name):], i+1
	}
	return time.Duration(total), nil
}

// plainMistake finds what is wrong in the same way for both: nothing, a sign, no unit.
func plainMistake(s, what, example, large, small string) error {
	n, rest, ok := number(s)
	switch {
	case strings.TrimSpace(s) == "":
		return &UnitError{"an empty text", "write a " + what + " such as " + example}
	case strings.HasPrefix(s, "-"):
		return &UnitError{"a negative " + what, "write it as " + example}
	case ok && rest == "" && what == "duration" && n == (decimal{}):
		return &UnitError{"a number without a unit", "write 0s"}
	case ok && rest == "":
		return &UnitError{"a number without a unit", "write " + s + large + " or " + s + small}
	}
	return nil
}

// decimal is a number with up to three digits behind the point.
type decimal struct {
	whole  uint64
	millis uint64 // thousandths, < 1000
}

// number reads a decimal from the start of s and returns what follows it.
func number(s string) (n decimal, rest string, ok bool) {
	end := digits(s)
	whole, err := strconv.ParseUint(s[:end], 10, 64)
	if end == 0 || (err != nil && end < 20) {
		return decimal{}, s, false
	}
	if err != nil {
		whole = math.MaxUint64 // too much in any unit
	}
	n, rest = decimal{whole: whole}, s[end:]
	if !strings.HasPrefix(rest, ".") {
		return n, rest, true
	}
	end = digits(rest[1:])
	if end == 0 || end > 3 {
		return decimal{}, s, false
	}
	n.millis, err = strconv.ParseUint((rest[1:1+end] + "00")[:3], 10, 64)
	return n, rest[1+end:], err == nil
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// times is n × u, rounded down; not ok when it does not fit in an int64.
func (n decimal) times(u uint64) (uint64, bool) {
	high, low := bits.Mul64(n.whole, u)
	sum := low + n.millis*u/1000 // u is at most 2^47, so the second term is small
	return sum, high == 0 && sum >= low && sum <= math.MaxInt64
}
