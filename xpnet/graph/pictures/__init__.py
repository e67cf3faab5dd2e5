"""Pictures of graphs: laid out by Graphviz, as text, or as Mermaid."""
