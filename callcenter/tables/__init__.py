"""Tables that people keep in spreadsheets and maps: CSV, XLSX and GeoJSON to rows, every fault named with its mend."""
