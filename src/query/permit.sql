-- Describes a text by the engine's own parser.
-- $1 the text
-- Returns the number of statements, the type and text of the error if it is no SELECT, the number of nodes that do more than read, and the
-- number of parameters. Every node of the syntax tree is checked, since a WITH may hold INSERT, DELETE or COPY … TO.
SELECT
    json_array_length(tree, '$.statements'),
    tree ->> '$.error_type',
    tree ->> '$.error_message',
    len(list_filter(
        json_extract_string(tree, '$..type'),
        lambda node: ends_with(node, '_NODE')
            AND node NOT IN ('SELECT_NODE', 'SET_OPERATION_NODE', 'RECURSIVE_CTE_NODE', 'CTE_NODE'))),
    len(list_filter(json_extract_string(tree, '$..type'), lambda node: node = 'VALUE_PARAMETER'))
FROM (SELECT json_serialize_sql($1::VARCHAR)::JSON AS tree)
