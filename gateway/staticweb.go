package gateway

import (
	"errors"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"

	"memstore.dev/memstore/storage"
)

// Metadata of a container that makes it a web site.
const (
	metaWebIndex   = "X-Container-Meta-Web-Index"          // object that stands for a directory
	metaWebError   = "X-Container-Meta-Web-Error"          // what the names of error pages end in, behind the status
	metaListings   = "X-Container-Meta-Web-Listings"       // whether directories without an index are listed
	metaWebCSS     = "X-Container-Meta-Web-Listings-Css"   // style sheet of the lists
	metaWebLabel   = "X-Container-Meta-Web-Listings-Label" // what their titles have in place of the path
	metaWebDirType = "X-Container-Meta-Web-Directory-Type" // type of objects that stand for directories
)

// A site is a container that is shown as a web site to who has not logged in, or
// asks for it by X-Web-Mode.
type site struct {
	c                      *call
	index, error, listings string
	css, label, dirType    string
	object                 string // that the path of the URL names
	given                  string // path of the URL, as asked for
	shown                  verb   // what answers for an object: getObject or headObject
}

// web answers a GET or HEAD of a container or an object as a site does, where it
// is one, and else as v does.
func (c *call) web(v verb) error {
	s, err := c.site()
	if err != nil {
		return err
	}
	if s == nil {
		return v(c)
	}
	if c.path.IsContainer() {
		return s.container(v)
	}
	return s.page(v)
}

// wantsWeb reports whether a container is to be shown as a site, if it is one.
func (c *call) wantsWeb() bool {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead || c.path.IsAccount() {
		return false
	}
	return c.id.Stranger() && c.id.Ticket == nil || truth(c.r.Header.Get("X-Web-Mode"))
}

// site reads what the container says of itself. It is nil where there is nothing
// to show but what there is.
func (c *call) site() (*site, error) {
	in, err := c.g.Store.Stat(c.ownEyes(), storage.Path{Account: c.path.Account, Container: c.path.Container})
	if err != nil {
		return nil, nil //nolint:nilerr // which the usual answer will tell
	}
	value := func(key string) string { return strings.TrimSpace(in.Meta[key]) }
	s := &site{
		c: c, index: value(metaWebIndex), error: value(metaWebError), listings: value(metaListings),
		css: value(metaWebCSS), label: value(metaWebLabel), dirType: value(metaWebDirType),
		object: c.path.Object, given: c.r.URL.Path, shown: (*call).getObject,
	}
	if s.dirType == "" {
		s.dirType = "application/directory"
	}
	if c.r.Method == http.MethodHead {
		s.shown = (*call).headObject
	}
	if c.path.IsObject() && s.listings == "" && s.index == "" {
		return nil, nil
	}
	return s, nil
}

// container answers for the container itself.
func (s *site) container(v verb) error {
	c := s.c
	if _, err := c.g.Store.Stat(c.ctx, c.path); errors.Is(err, fs.ErrPermission) {
		return s.fail(err) // for an index, too, one must be allowed to list
	}
	switch {
	case s.listings == "" && s.index == "":
		if truth(c.r.Header.Get("X-Web-Mode")) {
			return &refusal{status: http.StatusNotFound}
		}
		return v(c)
	case !strings.HasSuffix(s.given, "/"):
		return s.slash()
	case s.index == "":
		return s.list("")
	}
	c.path.Object = s.index
	c.vary("Accept") // as of anything about a container
	err := s.shown(c)
	if err != nil {
		c.w.Header().Del("Vary")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.list("")
	case err != nil:
		return s.fail(err)
	}
	return nil
}

// page answers for an object, or for the directory that its name may mean.
func (s *site) page(v verb) error {
	c := s.c
	missing := storage.Wrap("get", c.path, fs.ErrNotExist)
	if in, err := c.g.Store.Stat(c.ctx, c.path); err == nil && in.Type == s.dirType && in.Size <= 1 {
		// It stands for a directory.
	} else if err = v(c); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	directory := strings.TrimSuffix(s.object, "/") + "/"
	if strings.HasSuffix(s.given, "/") {
		directory = s.object
	}
	if s.index != "" {
		c.path.Object = directory + s.index
		if !strings.HasSuffix(s.given, "/") {
			if _, err := c.g.Store.Stat(c.ctx, c.path); err == nil {
				return s.slash()
			}
		} else if err := s.shown(c); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return s.fail(err)
		}
	}
	c.path.Object = s.object
	if strings.HasSuffix(s.given, "/") {
		return s.list(directory)
	}
	found := false
	for _, err := range c.g.Store.List(c.ctx, c.path.Parent(), storage.Query{Prefix: directory, Delimiter: "/", Limit: 1}) {
		found = err == nil
	}
	if !found {
		return s.fail(missing)
	}
	return s.slash()
}

// slash sends the browser to the directory, so that links within it hold.
func (s *site) slash() error {
	c := s.c
	c.set("Location", (&identity{}).base(c)+quote(s.given+"/"))
	text := movedPermanently
	if c.r.Method == http.MethodHead {
		text = ""
	}
	c.say(http.StatusMovedPermanently, html, text)
	return nil
}

const movedPermanently = "<html><h1>Moved Permanently</h1><p>The resource has moved permanently.</p></html>"

// fail answers with an error by the page that the site has for it, if it has one.
func (s *site) fail(err error) error {
	c := s.c
	if s.error == "" {
		return err
	}
	r := c.answerTo(err)
	if r.status/100 != 4 {
		return err
	}
	page := storage.Path{Account: c.path.Account, Container: c.path.Container, Object: strconv.Itoa(r.status) + s.error}
	rc, in, wrong := c.g.Store.Open(c.ctx, page, storage.All)
	if wrong != nil {
		return err
	}
	defer rc.Close()
	c.describe(&in)
	if c.r.Method == http.MethodHead {
		c.set("Content-Length", strconv.FormatInt(in.Size, 10))
		c.w.WriteHeader(r.status)
		return nil
	}
	return c.send(r.status, rc, in.Size)
}

// pageText makes text fit for a page, within tags too.
var pageText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;")

const doctype = `<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">` + "\n<html>\n"

// list answers with a page of what is in a directory.
func (s *site) list(directory string) error {
	c := s.c
	label := s.given
	if s.label != "" {
		label = s.label + "/"
		if parts := strings.SplitN(s.given, "/", 5); len(parts) == 5 {
			label += parts[4]
		}
	}
	if !truth(s.listings) {
		return s.fail(&refusal{status: http.StatusNotFound, text: s.disabled(label, directory)})
	}
	var entries []storage.Info
	for in, err := range c.g.Store.List(c.ctx, storage.Path{Account: c.path.Account, Container: c.path.Container},
		storage.Query{Prefix: directory, Delimiter: "/", Limit: maxListing}) {
		if err != nil {
			return s.fail(err)
		}
		entries = append(entries, in)
	}
	if directory != "" && len(entries) == 0 {
		return s.fail(&refusal{status: http.StatusNotFound})
	}
	if directory == "" {
		c.vary("Accept")
	}
	c.notSniffed()
	page := s.listing(label, directory, entries)
	c.set("Content-Type", html)
	c.set("Content-Length", strconv.Itoa(len(page)))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err := c.w.WriteString(page)
	return storage.Wrap("list", c.path, err)
}

// style is the link to the site's style sheet, as seen from a directory.
func (s *site) style(directory string) string {
	for _, whole := range []string{"/", "http://", "https://"} {
		if strings.HasPrefix(s.css, whole) {
			return strings.ReplaceAll(quote(s.css), "%3A", ":")
		}
	}
	return strings.Repeat("../", strings.Count(directory, "/")) + quote(s.css)
}

// disabled is the page in place of a list that is not to be seen.
func (s *site) disabled(label, directory string) string {
	var b strings.Builder
	b.WriteString(doctype + "<head>\n<title>Listing of " + pageText.Replace(label) + "</title>\n")
	if s.css != "" {
		b.WriteString(`  <link rel="stylesheet" type="text/css" href="` + s.style(directory) + "\" />\n")
	} else {
		b.WriteString("  <style type=\"text/css\">\n   h1 {font-size: 1em; font-weight: bold;}\n   p {font-size: 2}\n  </style>\n")
	}
	b.WriteString("</head>\n<body>  <h1>Web Listing Disabled</h1>   <p>The owner of this web site has disabled web listing." +
		"   <p>If you are the owner of this web site, you can enable   web listing by setting X-Container-Meta-Web-Listings.</p>")
	if s.index != "" {
		b.WriteString("<h1>Index File Not Found</h1> <p>The owner of this web site has set  <b>X-Container-Meta-Web-Index: " +
			pageText.Replace(s.index) + "</b>.  However, this file is not found.</p>")
	}
	b.WriteString(" </body>\n</html>\n")
	return b.String()
}

// listing is the page of a list: directories first, then objects.
func (s *site) listing(label, directory string, entries []storage.Info) string {
	title := pageText.Replace(label)
	var b strings.Builder
	b.WriteString(doctype + " <head>\n  <title>Listing of " + title + "</title>\n")
	if s.css != "" {
		b.WriteString(`  <link rel="stylesheet" type="text/css" href="` + s.style(directory) + "\" />\n")
	} else {
		b.WriteString("  <style type=\"text/css\">\n   h1 {font-size: 1em; font-weight: bold;}\n   th {text-align: left; padding: 0px 1em 0px 1em;}\n" +
			"   td {padding: 0px 1em 0px 1em;}\n   a {text-decoration: none;}\n  </style>\n")
	}
	b.WriteString(" </head>\n <body>\n  <h1 id=\"title\">Listing of " + title + "</h1>\n  <table id=\"listing\">\n   <tr id=\"heading\">\n" +
		"    <th class=\"colname\">Name</th>\n    <th class=\"colsize\">Size</th>\n    <th class=\"coldate\">Date</th>\n   </tr>\n")
	row := func(attributes, link, name, size, date string) {
		b.WriteString("   <tr " + attributes + ">\n    <td class=\"colname\"><a href=\"" + link + "\">" + pageText.Replace(name) + "</a></td>\n" +
			"    <td class=\"colsize\">" + size + "</td>\n    <td class=\"coldate\">" + date + "</td>\n   </tr>\n")
	}
	if directory != "" {
		row(`id="parent" class="item"`, "../", "../", "&nbsp;", "&nbsp;")
	}
	for _, in := range entries {
		if in.Subdir {
			name := strings.TrimPrefix(in.Path.Object, directory)
			row(`class="item subdir"`, quote(name), name, "&nbsp;", "&nbsp;")
		}
	}
	for _, in := range entries {
		if in.Subdir {
			continue
		}
		class := "item"
		for part := range strings.SplitSeq(strings.ToLower(compactType(in.Type)), "/") {
			class += " type-" + pageText.Replace(part)
		}
		name := strings.TrimPrefix(in.Path.Object, directory)
		row(`class="`+class+`"`, quote(name), name, humanSize(in.Size), in.ModTime.UTC().Format("2006-01-02 15:04:05"))
	}
	b.WriteString("  </table>\n </body>\n</html>\n")
	return b.String()
}

// humanSize is a size as the lists have it, "12Ki".
func humanSize(n int64) string {
	size, unit := float64(n), ""
	for _, next := range []string{"Ki", "Mi", "Gi", "Ti", "Pi", "Ei"} {
		if size < 1024 {
			break
		}
		size, unit = math.RoundToEven(size/1024), next
	}
	return strconv.FormatFloat(size, 'f', 0, 64) + unit
}
