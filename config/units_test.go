package config

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		err  string
	}{
		{"1B", 1, ""}, {"1kB", 1000, ""}, {"2MB", 2e6, ""}, {"3GB", 3e9, ""}, {"4TB", 4e12, ""},
		{"1KiB", 1 << 10, ""}, {"5MiB", 5 << 20, ""}, {"10GiB", 10 << 30, ""}, {"1TiB", 1 << 40, ""},
		{"1.5MiB", 3 << 19, ""}, {"0.001kB", 1, ""}, {"0B", 0, ""}, {"0.5B", 0, ""}, {"007MiB", 7 << 20, ""},
		{"8388607TiB", 8388607 << 40, ""}, {"9223372036854775807B", 1<<63 - 1, ""},
		{"8388608TiB", 0, `"8388608TiB", which is more than a size can be, at most 8EiB, so less than 8388608TiB`},
		{"9223372036854775808B", 0, `"9223372036854775808B", which is more than a size can be, at most 8EiB, so less than 8388608TiB`},
		{"99999999999999999999999B", 0, `"99999999999999999999999B", which is more than a size can be, at most 8EiB, so less than 8388608TiB`},
		{"10", 0, "a number without a unit, write 10GiB or 10MiB"},
		{"1.5", 0, "a number without a unit, write 1.5GiB or 1.5MiB"},
		{"", 0, "an empty text, write a size such as 10GiB or 10MiB"},
		{"-5MiB", 0, "a negative size, write it as 10GiB or 10MiB"},
		{"5mb", 0, `the unknown unit "mb", write 5MiB (powers of 1024) or 5MB (powers of 1000)`},
		{"5K", 0, `the unknown unit "K", write 5KiB (powers of 1024) or 5kB (powers of 1000)`},
		{"5KB", 0, `the unknown unit "KB", write 5KiB (powers of 1024) or 5kB (powers of 1000)`},
		{"5Gi", 0, `the unknown unit "Gi", write 5GiB (powers of 1024) or 5GB (powers of 1000)`},
		{"5 MiB", 0, `the unknown unit " MiB", write 5MiB (powers of 1024) or 5MB (powers of 1000)`},
		{"5PiB", 0, `the unknown unit "PiB", write kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)`},
		{"5MiB5", 0, `the unknown unit "MiB5", write kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)`},
		{"MiB", 0, `"MiB", which is no size, write it as 10GiB or 10MiB`},
		{"1.2345MiB", 0, `"1.2345MiB", which is no size, write it as 10GiB or 10MiB`},
		{"1.MiB", 0, `"1.MiB", which is no size, write it as 10GiB or 10MiB`},
		{"+5MiB", 0, `"+5MiB", which is no size, write it as 10GiB or 10MiB`},
		{"NaN", 0, `"NaN", which is no size, write it as 10GiB or 10MiB`},
		{"0x10MiB", 0, `the unknown unit "x10MiB", write kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)`},
		{"1e3MiB", 0, `the unknown unit "e3MiB", write kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)`},
	} {
		got, err := ParseSize(c.text)
		same(t, c.text, got, c.want)
		same(t, "error of "+c.text, message(err), c.err)
	}
}

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		err  string
	}{
		{"0s", 0, ""}, {"1ms", time.Millisecond, ""}, {"60s", time.Minute, ""}, {"5m", 5 * time.Minute, ""},
		{"2h", 2 * time.Hour, ""}, {"7d", 168 * time.Hour, ""}, {"1h30m", 90 * time.Minute, ""},
		{"1d2h3m4s5ms", 26*time.Hour + 3*time.Minute + 4*time.Second + 5*time.Millisecond, ""},
		{"1.5h", 90 * time.Minute, ""}, {"0.125s", 125 * time.Millisecond, ""}, {"90m", 90 * time.Minute, ""}, {"106751d", 106751 * 24 * time.Hour, ""},
		{"106752d", 0, `"106752d", which is more than a duration can be, at most 106751d`},
		{"106751d24h", 0, `"106751d24h", which is more than a duration can be, at most 106751d`},
		{"99999999999999999999999s", 0, `"99999999999999999999999s", which is more than a duration can be, at most 106751d`},
		{"60", 0, "a number without a unit, write 60s or 60m"},
		{"0", 0, "a number without a unit, write 0s"},
		{"0.0", 0, "a number without a unit, write 0s"},
		{"", 0, "an empty text, write a duration such as 60s or 5m"},
		{"-5s", 0, "a negative duration, write it as 60s or 5m"},
		{"30m1h", 0, `"30m1h", with its units out of order, the larger first and each once, as in 1h30m`},
		{"1h1h", 0, `"1h1h", with its units out of order, the larger first and each once, as in 1h30m`},
		{"1h30", 0, `the unknown unit "", write ms, s, m, h or d, as in 60s`},
		{"5 m", 0, `the unknown unit " m", write ms, s, m, h or d, as in 60s`},
		{"5min", 0, `the unknown unit "min", write ms, s, m, h or d, as in 60s`},
		{"5us", 0, `the unknown unit "us", write ms, s, m, h or d, as in 60s`},
		{"1w", 0, `the unknown unit "w", write ms, s, m, h or d, as in 60s`},
		{"soon", 0, `"soon", which is no duration, write it as 60s, 5m or 1h30m`},
		{"NaN", 0, `"NaN", which is no duration, write it as 60s, 5m or 1h30m`},
	} {
		got, err := ParseDuration(c.text)
		same(t, c.text, got, c.want)
		same(t, "error of "+c.text, message(err), c.err)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSizesAndDurationsAreWrittenAsTheyAreRead(t *testing.T) {
	for size, want := range map[Size]string{0: "0B", 1: "1B", 1000: "1kB", 1024: "1KiB", 5 << 20: "5MiB", 10e9: "10GB", 1536: "1536B", 64 << 40: "64TiB", -1: "-1B"} {
		same(t, "size", size.String(), want)
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", 25 * time.Second: "25s", 90 * time.Minute: "1h30m", 36 * time.Hour: "1d12h",
		1500 * time.Millisecond: "1s500ms", 5: "0s", -time.Second: "-1s",
	} {
		same(t, "duration", FormatDuration(d), want)
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"", "0", "10", "5MiB", "1.5GB", "9223372036854775807B", "99999999999999999999TiB", "-1kB", "5mb", "1.0001MiB", "NaN", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := ParseSize(s)
		if err != nil {
			if e := err.(*UnitError); size != 0 || e.Found == "" || e.Want == "" {
				t.Fatalf("%q: %d with %v", s, size, err)
			}
			return
		}
		if again, err := ParseSize(size.String()); size < 0 || err != nil || again != size {
			t.Fatalf("%q is %d, which is written %s and read as %d (%v)", s, size, size, again, err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"", "0", "60", "60s", "1h30m", "1d2h3m4s5ms", "106752d", "99999999999999999999s", "-1s", "1.5h", "30m1h", "NaN", "1.0005ms"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if e := err.(*UnitError); d != 0 || e.Found == "" || e.Want == "" {
				t.Fatalf("%q: %d with %v", s, d, err)
			}
			return
		}
		whole := d.Truncate(time.Millisecond)
		if again, err := ParseDuration(FormatDuration(d)); d < 0 || err != nil || again != whole {
			t.Fatalf("%q is %d, which is written %s and read as %d (%v)", s, d, FormatDuration(d), again, err)
		}
	})
}
