"""A page to look at pseudo-labels: data.py what it knows, thumbnails.py, page.py how it is made.

What a browser runs lies beside them: page.html, page.css and the scripts, *.js.
"""
