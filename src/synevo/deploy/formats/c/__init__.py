"""C: the graph as one C99 file that needs nothing but a compiler.

    graph → steps without normalisations → operations between static buffers → text

A convolution or a dense layer is a table of living synapses, (place, weight), walked by one of a few loops; everything
else is written as loops of its own. Values are places in buffers, so reshaping, transposing and slicing cost nothing.
"""
