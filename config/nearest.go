package config

import "strings"

// nearest is the candidate that word was probably meant to be: a few letters away, or one the start of the other;
// "" when none is near.
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	best, at := "", 1+max(1, min(3, len(word)/3))
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < at {
			best, at = c, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, c := range candidates {
		if low := strings.ToLower(c); strings.HasPrefix(low, word) || len(c) >= 3 && strings.HasPrefix(word, low) {
			return c
		}
	}
	return ""
}

// distance counts the letters to insert, leave out, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	const longest = 64 // no key comes near
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var d [longest + 1][longest + 1]uint8
	for i := range len(a) + 1 {
		d[i][0] = uint8(i)
	}
	for j := range len(b) + 1 {
		d[0][j] = uint8(j)
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := uint8(1)
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return int(d[len(a)][len(b)])
}
