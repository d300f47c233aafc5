-- What a text is, in the words of the parser that will run it.
-- $1 the text
-- Number of statements, why it is no SELECT, what in it does more than read, and its parameters: since a WITH may hold INSERT, DELETE or
-- COPY … TO, every node of the syntax tree is looked at.
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
