package cdn

import (
	"cmp"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// varyAll says whether a response can never be chosen for another request.
func varyAll(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		return slices.ContainsFunc(strings.Split(v, ","), func(name string) bool { return strings.Trim(name, " \t") == "*" })
	})
}

// varySpec is the list of field names in Vary, each once and sorted.
func varySpec(values []string) []string {
	var names []string
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.Trim(name, " \t"); name != "" {
				names = append(names, textproto.CanonicalMIMEHeaderKey(name))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// normal is the value of a field of requests in the form that variants are told
// apart by: two requests with the same are given the same response.
func normal(h http.Header, name string) string {
	values := h[name]
	switch {
	case len(values) == 0:
		return ""
	case name == "Accept-Encoding":
		return acceptEncoding(values)
	case name == "Accept-Language", name == "Accept", name == "Accept-Charset":
		return preferences(values)
	}
	return members(values)
}

// members joins the members of a list, without the space around them: a field
// may come in several lines or in one (RFC 9110, section 5.3).
func members(values []string) string {
	if len(values) == 1 && !strings.ContainsAny(values[0], " \t,") {
		return "=" + values[0]
	}
	b := []byte("=") // so that an empty field is not an absent one
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(b, strings.Trim(part, " \t")...)
		}
	}
	return string(b)
}

// preferences is a list of what a client would like, the dearest first. Among
// equals the order means nothing, nor does case.
func preferences(values []string) string {
	list := strings.Split(strings.ToLower(members(values))[1:], ",")
	list = slices.DeleteFunc(list, func(m string) bool { return m == "" })
	for i, m := range list {
		name, params, ok := strings.Cut(m, ";")
		if ok {
			m = strings.TrimRight(name, " \t") + ";" + strings.Trim(params, " \t")
		}
		list[i] = m
	}
	slices.SortStableFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), strings.Compare(a, b))
	})
	return "=" + strings.Join(list, ",")
}

// weight is the q of a member of a list, in thousandths.
func weight(member string) int {
	for p := range strings.SplitSeq(member, ";") {
		v, ok := strings.CutPrefix(strings.Trim(p, " \t"), "q=")
		if !ok {
			continue
		}
		q, err := strconv.ParseFloat(v, 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return int(q * 1000)
	}
	return 1000
}

// codings are the content codings in use on the web, as they are sent on.
var codings = []string{"br", "gzip", "zstd"}

// acceptEncoding is what a request accepts of the codings in use: there are few
// ways to say so, and many of spelling it.
func acceptEncoding(values []string) string {
	var accepted [8]bool
	star, named := false, [8]bool{}
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			coding, params, _ := strings.Cut(part, ";")
			coding = strings.ToLower(strings.Trim(coding, " \t"))
			coding = strings.TrimPrefix(coding, "x-")
			zero := zeroWeight(params)
			if coding == "*" {
				star = !zero
				continue
			}
			if i := slices.Index(codings, coding); i >= 0 {
				named[i], accepted[i] = true, !zero
			}
		}
	}
	var names []string
	for i, coding := range codings {
		if accepted[i] || star && !named[i] {
			names = append(names, coding)
		}
	}
	return strings.Join(names, ", ")
}

// zeroWeight says whether the parameters have a weight of 0: "q=0", "q=0.0".
func zeroWeight(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, v, ok := strings.Cut(strings.Trim(p, " \t"), "=")
		if ok && strings.EqualFold(name, "q") {
			return strings.Trim(v, "0.") == "" && strings.HasPrefix(v, "0")
		}
	}
	return false
}
